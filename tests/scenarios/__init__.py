"""All scenarios, in the order of the README's table."""

from scenarios import content, doubt, hostile, keys, machine, pace, server, silence, time, verdicts
from scenarios.scenario import Mutation, Scenario

SCENARIOS: tuple[Scenario, ...] = (
    *machine.SCENARIOS,
    *doubt.SCENARIOS,
    *silence.SCENARIOS,
    *verdicts.SCENARIOS,
    *pace.SCENARIOS,
    *time.SCENARIOS,
    *keys.SCENARIOS,
    *content.SCENARIOS,
    *hostile.SCENARIOS,
    *server.SCENARIOS,
)
MUTATIONS: tuple[Mutation, ...] = tuple(
    mutation for scenario in SCENARIOS for mutation in scenario.mutations
)
