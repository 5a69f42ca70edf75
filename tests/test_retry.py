"""The one retry layer: bounded, shared, and deaf to what it was not told to hear."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from chunkup.errors import (
    BadOption,
    ChunkupError,
    Failed,
    Rejected,
    ServerTrouble,
    Stopped,
    Throttled,
    Unreachable,
)
from chunkup.models import Answer
from chunkup.pace import Budget
from chunkup.retry import Gate, Policy, Retry
from chunkup.verdicts import interpret

Attempt = Callable[[], Awaitable[str]]


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jitter of its own length is tested with the pace; here nobody waits for it."""
    monkeypatch.setattr("chunkup.retry.backoff", lambda attempt, chance: 0.01)


class Script:
    """An attempt that ends as told, in turn, and for ever as the last one was told."""

    def __init__(self, *endings: BaseException | str) -> None:
        self.endings = endings
        self.calls = 0
        self.times: list[float] = []

    async def __call__(self) -> str:
        ending = self.endings[min(self.calls, len(self.endings) - 1)]
        self.calls += 1
        self.times.append(time.monotonic())
        await asyncio.sleep(0)
        if isinstance(ending, BaseException):
            raise ending
        return ending


async def persist(
    policy: Policy, attempt: Attempt, *, limit: float = 900.0, told: list[Retry] | None = None
) -> str:
    heard = [] if told is None else told
    return await policy.persist(attempt, wait_limit=lambda: limit, on_retry=heard.append)


def policy_of(retries: int = 3, offline_wait: float = 0.0) -> Policy:
    return Policy(retries, offline_wait)


def trouble() -> ServerTrouble:
    return ServerTrouble("it failed", retryable=True)


def throttled(wait: float | None, *, retryable: bool = True) -> Throttled:
    return Throttled("slow down", retryable=retryable, answer=Answer(429, "", retry_after=wait))


def offline() -> Unreachable:
    return Unreachable("no network", sent=False, offline=True)


# --- how often ------------------------------------------------------------------------------


@pytest.mark.parametrize("retries", [0, 1, 3, 8])
async def test_attempts_are_bounded_and_the_last_error_is_raised(retries: int) -> None:
    errors = [trouble() for _ in range(retries + 5)]
    script, told = Script(*errors), list[Retry]()
    with pytest.raises(ServerTrouble) as caught:
        await persist(policy_of(retries), script, told=told)
    assert caught.value is errors[retries]
    assert script.calls == retries + 1
    assert [retry.attempt for retry in told] == list(range(1, retries + 1))
    assert [retry.error for retry in told] == errors[:retries]


async def test_the_first_success_ends_it() -> None:
    script, told = Script(trouble(), Unreachable("reset"), "done"), list[Retry]()
    assert await persist(policy_of(), script, told=told) == "done"
    assert script.calls == 3
    assert [(retry.attempt, retry.error.code) for retry in told] == [
        (1, "server-trouble"),
        (2, "unreachable"),
    ]


@pytest.mark.parametrize(
    "error",
    [
        Failed("no"),
        Rejected("no"),
        BadOption("no"),
        Stopped("no"),
        ServerTrouble("no", retryable=False),
        KeyError("a bug"),
        OSError("a bug too"),
    ],
)
async def test_what_may_not_be_retried_is_raised_at_once(error: Exception) -> None:
    script, told = Script(error), list[Retry]()
    with pytest.raises(type(error)) as caught:
        await persist(policy_of(), script, told=told)
    assert caught.value is error
    assert script.calls == 1
    assert not told


@pytest.mark.parametrize(
    ("status", "wish", "calls"),
    [(500, "false", 1), (429, "false", 1), (503, "true", 4), (400, "true", 4), (400, "", 1)],
)
async def test_the_servers_own_word_on_retrying_overrules(
    status: int, wish: str, calls: int
) -> None:
    script = Script(interpret(status, {"x-should-retry": wish}, "", what="help"))
    with pytest.raises(ChunkupError):
        await persist(policy_of(), script)
    assert script.calls == calls


# --- the budget -----------------------------------------------------------------------------


async def test_all_share_one_budget() -> None:
    policy = Policy(retries=100, offline_wait=0.0, budget=Budget(20))
    scripts = [Script(trouble()) for _ in range(5)]
    endings = await asyncio.gather(
        *(persist(policy, script) for script in scripts), return_exceptions=True
    )
    assert all(isinstance(ending, ServerTrouble) for ending in endings)
    assert sum(script.calls for script in scripts) == 5 + 4
    assert policy.budget.left == 0


async def test_a_lost_connection_costs_twice_and_a_success_gives_back() -> None:
    policy = Policy(retries=100, offline_wait=0.0, budget=Budget(20))
    script = Script(Unreachable("reset"))
    with pytest.raises(Unreachable):
        await persist(policy, script)
    assert script.calls == 1 + 2
    for _ in range(7):
        await persist(policy, Script("done"))
    assert policy.budget.left == 7
    assert await persist(policy, Script(trouble(), "done")) == "done"
    assert policy.budget.left == 3


async def test_who_says_when_to_come_again_costs_no_budget() -> None:
    policy = Policy(retries=3, offline_wait=0.0, budget=Budget(20))
    assert await persist(policy, Script(throttled(0.001), throttled(0.001), "done")) == "done"
    assert policy.budget.left == 20
    assert await persist(policy, Script(throttled(None), "done")) == "done"
    assert policy.budget.left == 16
    assert await persist(policy, Script(throttled(0.0), "done")) == "done"
    assert policy.budget.left == 12


async def test_a_wish_does_not_make_the_attempts_endless() -> None:
    script = Script(throttled(0.001))
    with pytest.raises(Throttled):
        await persist(Policy(retries=3, offline_wait=0.0), script)
    assert script.calls == 4


async def test_a_sleep_of_the_machine_costs_neither_budget_nor_attempts() -> None:
    policy = Policy(retries=1, offline_wait=0.0, budget=Budget(20))
    asleep = [Unreachable("it slept", slept=True)] * 3
    assert await persist(policy, Script(*asleep, "done")) == "done"
    assert policy.budget.left == 20


async def test_an_attempt_may_pass_the_gate_by_itself() -> None:
    policy = policy_of()
    policy.gate.ask(3600.0)
    async with asyncio.timeout(5):
        done = await policy.persist(
            Script("done"), wait_limit=lambda: 1.0, on_retry=lambda retry: None, gated=False
        )
    assert done == "done"


# --- without a network ----------------------------------------------------------------------


async def test_without_a_network_time_alone_decides_and_nothing_is_spent() -> None:
    policy, script = policy_of(retries=2, offline_wait=0.3), Script(offline())
    began = time.monotonic()
    with pytest.raises(Unreachable):
        await persist(policy, script)
    assert time.monotonic() - began >= 0.3
    assert script.calls > 3
    assert policy.budget.left == policy.budget.size


async def test_without_patience_a_missing_network_is_told_soon() -> None:
    script = Script(offline())
    with pytest.raises(Unreachable):
        await persist(policy_of(retries=100), script)
    assert script.calls <= 2


async def test_the_wait_for_a_network_begins_when_it_went_away() -> None:
    """An attempt may take long before its connection breaks and the network is gone."""
    policy = policy_of(retries=3, offline_wait=0.2)
    script = Script(Unreachable("reset after a long time"), offline(), offline(), "done")

    async def slow_at_first() -> str:
        if script.calls == 0:
            await asyncio.sleep(0.25)  # the attempt's own length
        return await script()

    assert await persist(policy, slow_at_first) == "done"


async def test_a_network_that_was_back_in_between_is_waited_for_anew() -> None:
    policy = policy_of(retries=3, offline_wait=0.3)
    script = Script(offline(), trouble(), offline(), "done")

    async def slow() -> str:
        await asyncio.sleep(0.2)  # the attempt's own length
        return await script()

    assert await persist(policy, slow) == "done"


async def test_waiting_for_a_network_uses_up_no_retries() -> None:
    policy = policy_of(retries=2, offline_wait=60.0)
    script = Script(*[offline() for _ in range(10)], Unreachable("reset"), trouble(), "done")
    assert await persist(policy, script) == "done"


async def test_connections_that_were_never_made_cost_retries_but_no_budget() -> None:
    policy = Policy(retries=5, offline_wait=0.0, budget=Budget(10))
    refused = Unreachable("refused", sent=False)
    assert await persist(policy, Script(*[refused] * 5, "done")) == "done"
    with pytest.raises(Unreachable):
        await persist(policy, Script(*[refused] * 6, "done"))


# --- the gate -------------------------------------------------------------------------------


async def test_a_wish_for_patience_told_to_one_holds_all_and_nobody_passes_early() -> None:
    policy = policy_of()
    first = Script(throttled(0.3), "done")
    passed: list[float] = []

    async def other() -> str:
        passed.append(time.monotonic())
        return "done"

    async def others() -> None:
        while not first.calls:  # noqa: ASYNC110  (until the first was told)
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.gather(*(persist(policy, other) for _ in range(10)))

    told: list[Retry] = []
    await asyncio.gather(persist(policy, first, told=told), others())
    asked = first.times[0]
    assert first.times[1] - asked >= 0.3
    assert len(passed) == 10
    assert min(passed) - asked >= 0.3
    assert [retry.wait for retry in told] == [0.3]


async def test_a_longer_wish_holds_those_who_sleep_already() -> None:
    gate = Gate()
    began = time.monotonic()
    gate.ask(0.1)
    waiting = [asyncio.ensure_future(gate.passed()) for _ in range(5)]
    await asyncio.sleep(0)
    gate.ask(0.3)
    gate.ask(0.05)
    await asyncio.gather(*waiting)
    assert time.monotonic() - began >= 0.3


async def test_a_gate_that_nobody_closed_is_open() -> None:
    async with asyncio.timeout(5):
        await Gate().passed()


async def test_a_wait_beyond_the_limit_stops_at_once_and_closes_no_gate() -> None:
    policy, script = policy_of(), Script(throttled(3600.0))
    error = script.endings[0]
    async with asyncio.timeout(5):
        with pytest.raises(Stopped) as caught:
            await persist(policy, script, limit=60.0)
    assert script.calls == 1
    assert caught.value.__cause__ is error
    assert caught.value.answer is not None
    assert not caught.value.retryable
    assert "1 h" in str(caught.value)
    async with asyncio.timeout(5):
        await policy.gate.passed()


async def test_a_wait_up_to_the_limit_is_kept() -> None:
    script = Script(throttled(0.2), "done")
    assert await persist(policy_of(), script, limit=0.2) == "done"
    assert script.times[1] - script.times[0] >= 0.2


async def test_the_limit_is_asked_at_the_moment_of_the_wish() -> None:
    limits = iter([10.0, 0.01])
    script = Script(throttled(0.05))
    with pytest.raises(Stopped, match="too long"):
        await policy_of().persist(
            script, wait_limit=lambda: next(limits), on_retry=lambda retry: None
        )
    assert script.calls == 2


async def test_a_wish_beside_a_final_refusal_holds_nobody() -> None:
    policy = policy_of()
    with pytest.raises(Throttled):
        await persist(policy, Script(throttled(3600.0, retryable=False)))
    async with asyncio.timeout(5):
        await policy.gate.passed()


# --- cancellation ---------------------------------------------------------------------------


async def test_a_cancellation_passes_through_at_once() -> None:
    script, told = Script(asyncio.CancelledError()), list[Retry]()
    with pytest.raises(asyncio.CancelledError):
        await persist(policy_of(), script, told=told)
    assert script.calls == 1
    assert not told


@pytest.mark.parametrize("where", ["attempt", "gate", "backoff"])
async def test_it_can_be_cancelled_wherever_it_waits(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = policy_of()
    reached = asyncio.Event()

    async def attempt() -> str:
        reached.set()
        if where == "attempt":
            await asyncio.Event().wait()
        raise throttled(60.0) if where == "gate" else trouble()

    monkeypatch.setattr("chunkup.retry.backoff", lambda attempt, chance: 60.0)
    task = asyncio.ensure_future(persist(policy, attempt))
    await reached.wait()
    for _ in range(10):
        await asyncio.sleep(0)
    task.cancel()
    async with asyncio.timeout(5):
        with pytest.raises(asyncio.CancelledError):
            await task
