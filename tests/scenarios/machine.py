"""What people and machines do all at once; what each does alone stands in other modules."""

from scenarios.scenario import Scenario

SCENARIOS = (
    Scenario(
        what="a bad day: kills, signals, faults on the wire, edits, full disks, second commands",
        holds="one right File for each job; receipts are kept, nobody holds a job for ever",
        tests=("test_chaos.py", "test_stateful.py"),
        mutations=(),
    ),
    Scenario(
        what="another account's key",
        holds="never makes an Upload for a job of the first",
        tests=("test_run.py", "test_cli_resume.py"),
        mutations=(),
    ),
)
