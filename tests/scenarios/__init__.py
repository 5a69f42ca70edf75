"""All scenarios, in the order of the README's table."""

from scenarios import (
    content,
    doubt,
    files,
    hostile,
    keys,
    machine,
    network,
    pace,
    providers,
    server,
    silence,
    single,
    time,
    verdicts,
)
from scenarios.scenario import Mutation, Scenario

SCENARIOS: tuple[Scenario, ...] = (
    *machine.SCENARIOS,
    *doubt.SCENARIOS,
    *single.SCENARIOS,
    *silence.SCENARIOS,
    *verdicts.SCENARIOS,
    *pace.SCENARIOS,
    *time.SCENARIOS,
    *keys.SCENARIOS,
    *content.SCENARIOS,
    *hostile.SCENARIOS,
    *network.SCENARIOS,
    *files.SCENARIOS,
    *providers.SCENARIOS,
    *server.SCENARIOS,
)
MUTATIONS: tuple[Mutation, ...] = tuple(
    mutation for scenario in SCENARIOS for mutation in scenario.mutations
)
