"""The model of claims keeps its promises, and needs each of its guards for that."""

import os

import pytest
from claims_model import GUARDS, Claims, World, explore

LONG = bool(os.environ.get("CHUNKUP_LONG"))
TWO, THREE = (0, 0, 1), (0, 1, 2)

# --- all that can happen ----------------------------------------------------------------------

WHOLE: dict[str, tuple[tuple[int, ...], dict[str, int]]] = {
    "kills": (TWO, {"claim": 3, "takeover": 1, "crash": 1}),
    "takeovers": (TWO, {"claim": 1, "takeover": 2, "crash": 1}),
    "three": (THREE, {"claim": 3, "crash": 1}),
    "cancellations": (TWO, {"claim": 2, "crash": 1, "cancel": 1}),
    "disks": (TWO, {"claim": 2, "cancel": 1, "fail": 1}),
    "removed": (TWO, {"claim": 2, "takeover": 1, "clean": 1}),
}
LONGER: dict[str, tuple[tuple[int, ...], dict[str, int]]] = {
    "all": (TWO, {"claim": 3, "takeover": 1, "crash": 1, "cancel": 1, "fail": 1}),
    "three of all": (THREE, {"claim": 3, "takeover": 1, "crash": 1, "cancel": 1}),
}
BUDGETS = {**WHOLE, **(LONGER if LONG else {})}


@pytest.mark.parametrize("name", BUDGETS)
def test_no_interleaving_breaks_a_promise(name: str) -> None:
    places, budget = BUDGETS[name]
    found = explore(Claims(budget, places=places))
    assert found.broken is None, found
    assert found.worlds > 1000


# Where each guard is missed, and what then happens.
MISSED: dict[str, tuple[dict[str, int], str]] = {
    "immediate": ({"claim": 2}, "claims what"),
    "lock first": ({"claim": 2}, "claims what"),
    "lock decides": ({"claim": 1, "crash": 1}, "stuck"),
    "fence": ({"claim": 1, "takeover": 1}, "records CompleteAsked, and 2 has the job"),
    "fence inside": ({"claim": 1, "takeover": 1}, "records CompleteAsked, and 2 has the job"),
    "only ours": ({"claim": 2, "takeover": 1, "cancel": 1}, "claims what 2 has"),
    "one run": ({"claim": 2}, "claims what 0 has"),
    "not again": ({"claim": 2, "takeover": 1, "cancel": 1}, "and 1 has the job"),
    "given back": ({"claim": 1, "cancel": 1}, "stuck"),
    "abandoned": ({"claim": 1, "cancel": 1, "fail": 1}, "stuck"),
    "sweep inside": ({"claim": 2}, "claims what"),
    "child forgets": ({"claim": 1, "crash": 1, "fork": 1}, "stuck"),
    "fork waits": ({"claim": 1, "crash": 1, "fork": 1}, "stuck"),
    "load after": ({"claim": 2, "crash": 1}, "a second time without a look"),
    "asked first": ({"claim": 2, "crash": 1}, "a second File"),
    "look": ({"claim": 2, "crash": 1}, "a second File"),
}


def test_every_guard_is_missed_somewhere() -> None:
    assert MISSED.keys() == GUARDS.keys()


@pytest.mark.parametrize("guard", MISSED)
def test_without_a_guard_there_is_a_way_to_break_a_promise(guard: str) -> None:
    budget, what = MISSED[guard]
    found = explore(Claims(budget, without=frozenset({guard})))
    assert what in (found.broken or ""), found
    whole = explore(Claims(budget))
    assert whole.broken is None, whole


@pytest.mark.parametrize("change", ["crash", "takeover", "cancel", "fail"])
def test_whatever_happened_to_the_first_another_can_end_the_job(change: str) -> None:
    budget = {"claim": 2, "cancel": 1, change: 1}
    rules = Claims(budget)

    def ended_by_the_other(world: World) -> bool:
        return world.done and world.hands[2].at == "giving" and world.left != rules.start().left

    found = explore(rules, goal=ended_by_the_other)
    assert found.broken == "reached"
