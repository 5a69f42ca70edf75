"""The one retry layer: tenacity behind one policy value.

What may be retried is not decided here but carried by the error itself. The gate is passed
inside each attempt, so that a server's wish for patience, told to one worker, holds all.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from chunkup.errors import ChunkupError, Stopped, Unreachable
from chunkup.pace import Budget, Pause, backoff
from chunkup.text import duration_text

_Result = TypeVar("_Result")


class Gate:
    """Where every request of a process waits while a server wants none."""

    def __init__(self) -> None:
        self._pause = Pause()

    def ask(self, wait: float) -> None:
        """Nothing passes for ``wait`` seconds from now."""
        self._pause.ask(time.monotonic(), wait)

    async def passed(self) -> None:
        """Return once requests may go out again, a little late and never early."""
        while True:  # a longer wish may have come while this worker slept
            left = self._pause.left(time.monotonic(), random.random())  # noqa: S311  (jitter)
            if left <= 0:
                return
            await asyncio.sleep(left)


@dataclass(frozen=True, slots=True)
class Retry:
    """One failed attempt that will be repeated after ``wait`` seconds; ``attempt`` from 1."""

    attempt: int
    wait: float
    error: ChunkupError


@dataclass(slots=True)
class Policy:
    """How often and how long: one value shared by everything that a process sends.

    ``wait_limit`` is the longest pause that a server may ask for, in seconds, at the moment
    it is asked; a longer one ends the attempt series at once.
    """

    retries: int
    offline_wait: float
    gate: Gate = field(default_factory=Gate)
    budget: Budget = field(default_factory=Budget)

    async def persist(
        self,
        attempt: Callable[[], Awaitable[_Result]],
        *,
        wait_limit: Callable[[], float],
        on_retry: Callable[[Retry], None],
    ) -> _Result:
        """Try until it succeeds or is hopeless; then the last error is raised.

        Raises:
            Stopped: The server asks for a wait beyond ``wait_limit``.
            ChunkupError: What the last attempt raised.
        """
        away: float | None = None
        spent = 0

        async def gated() -> _Result:
            await self.gate.passed()
            try:
                result = await attempt()
            except ChunkupError as error:
                self._heed(error, wait_limit())
                raise
            self.budget.refill()
            return result

        def hopeless(state: RetryCallState) -> bool:
            nonlocal away, spent
            error = _error(state)
            if isinstance(error, Unreachable) and error.offline:
                # No server is bothered by asking again: time alone decides.
                away = away or time.monotonic()
                return time.monotonic() - away > self.offline_wait
            away = None
            spent += 1
            if spent > self.retries:
                return True
            if isinstance(error, Unreachable) and not error.sent:
                # The budget spares a server in trouble; this one did not hear us at all, and
                # all workers at once would use it up before a restart is through.
                return False
            return not self.budget.take(timeout=isinstance(error, Unreachable))

        def wait(state: RetryCallState) -> float:
            answer = error.answer if (error := _error(state)) else None
            if answer is not None and answer.retry_after is not None:
                return 0.0  # the gate keeps it, for this worker as for all
            return backoff(state.attempt_number, random.random())  # noqa: S311  (jitter)

        def told(state: RetryCallState) -> None:
            error = _error(state)
            if error is not None:
                wished = error.answer.retry_after if error.answer else None
                on_retry(Retry(state.attempt_number, wished or state.upcoming_sleep, error))

        return await AsyncRetrying(
            retry=retry_if_exception(
                lambda error: isinstance(error, ChunkupError) and error.retryable
            ),
            stop=hopeless,
            wait=wait,
            before_sleep=told,
            reraise=True,
        )(gated)

    def _heed(self, error: ChunkupError, limit: float) -> None:
        wish = error.answer.retry_after if error.answer and error.retryable else None
        if wish is None:
            return
        if wish > limit:
            raise Stopped(
                f"the server asks for a pause of {duration_text(wish)}, which is too long to wait "
                "for; what was accepted is kept",
                answer=error.answer,
            ) from error
        self.gate.ask(wish)


def _error(state: RetryCallState) -> ChunkupError | None:
    error = state.outcome.exception() if state.outcome else None
    return error if isinstance(error, ChunkupError) else None
