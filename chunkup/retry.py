"""The one retry layer: tenacity behind one policy value.

What may be retried is not decided here but carried by the error itself. The gate is passed
inside each attempt, so that a server's wish for patience, told to one worker, holds all, and
so that all together slow down for a server that throttles.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from chunkup.errors import (
    ChunkupError,
    ServerTrouble,
    Stopped,
    Throttled,
    Unauthorized,
    Unreachable,
)
from chunkup.pace import Budget, Pause, Tempo, backoff
from chunkup.text import duration_text

_Result = TypeVar("_Result")


class Gate:
    """Where every request of a process waits while a server wants none."""

    def __init__(self) -> None:
        self._pause = Pause()
        self._tempo = Tempo()

    def ask(self, wait: float) -> None:
        """Nothing passes for ``wait`` seconds from now."""
        self._pause.ask(time.monotonic(), wait)

    def throttled(self) -> None:
        """There were too many requests: fewer pass in a second from now on."""
        self._tempo.throttled(time.monotonic())

    async def passed(self) -> None:
        """Return once requests may go out again, a little late and never early."""
        await self._paused()
        turn = self._tempo.turn(time.monotonic())
        if turn > 0:
            await asyncio.sleep(turn)
            await self._paused()

    async def _paused(self) -> None:
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
        gated: bool = True,
    ) -> _Result:
        """Try until it succeeds or is hopeless; then the last error is raised.

        ``gated`` is False for attempts that pass the gate themselves.

        Raises:
            Stopped: The server asks for a wait beyond ``wait_limit``.
            ChunkupError: What the last attempt raised.
        """
        away: float | None = None
        spent, renewed = 0, False

        async def once() -> _Result:
            if gated:
                await self.gate.passed()
            try:
                result = await attempt()
            except ChunkupError as error:
                self._heed(error, wait_limit())
                raise
            self.budget.refill()
            return result

        def hopeless(state: RetryCallState) -> bool:
            nonlocal away, spent, renewed
            error = _error(state)
            if isinstance(error, Unauthorized):
                # There is another key now. Nobody failed, and a third would be one too many.
                before, renewed = renewed, True
                return before
            if isinstance(error, Unreachable) and error.offline:
                # No server is bothered by asking again: time alone decides.
                away = away or time.monotonic()
                return time.monotonic() - away > self.offline_wait
            away = None
            if isinstance(error, Unreachable) and error.slept:
                return False  # nobody failed: the machine was closed for a while
            spent += 1
            if spent > self.retries:
                return True
            if isinstance(error, Unreachable) and not error.sent:
                # The budget spares a server in trouble; this one did not hear us at all, and
                # all workers at once would use it up before a restart is through.
                return False
            if _wish(error):
                return False  # who says when to come again is in no trouble
            return not self.budget.take(timeout=isinstance(error, Unreachable))

        def pause(state: RetryCallState) -> float:
            error = _error(state)
            if isinstance(error, Unauthorized):
                return 0.0
            if _wish(error):
                return 0.0  # the gate keeps it, for this worker as for all
            return backoff(state.attempt_number, random.random())  # noqa: S311  (jitter)

        def told(state: RetryCallState) -> None:
            error = _error(state)
            if error is not None:
                wait = _wish(error) or state.upcoming_sleep
                on_retry(Retry(state.attempt_number, wait, error))

        return await AsyncRetrying(
            retry=retry_if_exception(
                lambda error: isinstance(error, ChunkupError) and error.retryable
            ),
            stop=hopeless,
            wait=pause,
            before_sleep=told,
            reraise=True,
        )(once)

    def _heed(self, error: ChunkupError, limit: float) -> None:
        # A doubtful complete is not repeated here, but what asks about it has to wait as well.
        wish = _wish(error) if error.retryable or isinstance(error, ServerTrouble) else None
        if wish is None:
            return
        if wish > limit:
            raise Stopped(
                f"the server asks for a pause of {duration_text(wish)}, which is too long to wait "
                "for; what was accepted is kept",
                answer=error.answer,
            ) from error
        self.gate.ask(wish)
        if isinstance(error, Throttled):
            self.gate.throttled()


def _wish(error: ChunkupError | None) -> float | None:
    """The wait that a server asks for, in seconds; a moment that is over is no wish."""
    return (error.answer.retry_after or None) if error and error.answer else None


def _error(state: RetryCallState) -> ChunkupError | None:
    error = state.outcome.exception() if state.outcome else None
    return error if isinstance(error, ChunkupError) else None
