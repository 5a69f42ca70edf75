"""All scenarios, in the order of the README's table."""

from scenarios import (
    checked,
    content,
    datasets,
    doubt,
    existing,
    files,
    hostile,
    inputs,
    keys,
    machine,
    manifest,
    network,
    pace,
    preflight,
    providers,
    rate,
    records,
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
    *rate.SCENARIOS,
    *time.SCENARIOS,
    *keys.SCENARIOS,
    *content.SCENARIOS,
    *records.SCENARIOS,
    *preflight.SCENARIOS,
    *checked.SCENARIOS,
    *datasets.SCENARIOS,
    *hostile.SCENARIOS,
    *network.SCENARIOS,
    *files.SCENARIOS,
    *inputs.SCENARIOS,
    *existing.SCENARIOS,
    *manifest.SCENARIOS,
    *providers.SCENARIOS,
    *server.SCENARIOS,
)
MUTATIONS: tuple[Mutation, ...] = tuple(
    mutation for scenario in SCENARIOS for mutation in scenario.mutations
)
