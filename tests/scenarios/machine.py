"""What people, processes and files do."""

from scenarios.scenario import Scenario

SCENARIOS = (
    Scenario(
        what="`kill -9`, a crash, at any moment",
        holds="the next run sends what has no receipt, and nothing else",
        tests=("test_kill_sweep.py", "test_stateful.py", "test_journal_commits.py"),
        mutations=(),
    ),
    Scenario(
        what="Ctrl-C, SIGTERM, hang-up",
        holds="receipts are kept; the command that continues is printed; a second signal leaves "
        "at once",
        tests=("test_cli.py", "test_leftovers.py"),
        mutations=(),
    ),
    Scenario(
        what="a file that changed since",
        holds="content decides, not time stamps; a mixed File is never completed",
        tests=("test_proof.py", "test_proof_between_runs.py"),
        mutations=(),
    ),
    Scenario(
        what="the same job started twice",
        holds="one runs it, the other names the one that does",
        tests=("test_journal_claims.py", "test_cli_jobs.py"),
        mutations=(),
    ),
    Scenario(
        what="another account's key",
        holds="never makes an Upload for a job of the first",
        tests=("test_run.py", "test_cli_resume.py"),
        mutations=(),
    ),
    Scenario(
        what="a damaged or newer journal",
        holds="refused with a hint, never overwritten",
        tests=("test_journal_damage.py", "test_journal_migration.py"),
        mutations=(),
    ),
)
