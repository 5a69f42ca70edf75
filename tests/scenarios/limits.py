"""A machine that gives little."""

from scenarios.scenario import Mutation, Scenario

SCENARIOS = (
    Scenario(
        what="a file of 50 GB, parts of 5 GB, 16 workers, a server that is slow, little memory",
        holds="some 80 MB, whatever the sizes; no line or answer is held whole",
        tests=("test_limits.py", "test_preflight_memory.py"),
        mutations=(
            Mutation(
                takes_out="memory that runs out is no bug of ours, and the job goes on",
                module="engine.py",
                was="                if lack := shortage(error):\n                    raise lack",
                becomes="                if False:\n                    raise lack",
                test="test_limits.py::test_memory_that_runs_out_is_named_and_the_job_goes_on",
            ),
        ),
    ),
    Scenario(
        what="few open files (`ulimit -n 64`), no more threads, files that may not grow"
        " (`ulimit -f`)",
        holds="fewer workers, or one sentence that names the limit and blames no file, disk or"
        " server for it (75); nothing is lost, the same command goes on",
        tests=("test_limits.py",),
        mutations=(
            Mutation(
                takes_out="there are no more workers than open files for them",
                module="engine.py",
                was="Slots(min(workers, most),",
                becomes="Slots(workers,",
                test="test_limits.py::test_there_are_no_more_workers_than_open_files_for_them",
            ),
            Mutation(
                takes_out="a file that cannot be opened for want of open files is not gone",
                module="source.py",
                was="return shortage(error) or SourceGone(",
                becomes="return SourceGone(",
                test="test_limits.py::test_a_file_is_not_blamed_for_the_open_files_of_others",
            ),
            Mutation(
                takes_out="a journal that may not grow does not blame the disk",
                module="journal/opening.py",
                was="if primary == sqlite3.SQLITE_IOERR and (limit := _limit(path)):",
                becomes="if (limit := None):",
                test="test_limits.py"
                "::test_a_journal_that_may_not_grow_says_so_and_keeps_what_it_has",
            ),
            Mutation(
                takes_out="a thread that cannot be had is named",
                module="shortage.py",
                was="        raise shortage(error) or error from error",
                becomes="        raise",
                test="test_limits.py::test_a_program_can_try_again_once_there_are_threads",
            ),
            Mutation(
                takes_out="`chunkup serve` lets in as many as it has open files for",
                module="server/connection.py",
                was="        self._most = _most_connections()",
                becomes="        self._most = sys.maxsize",
                test="test_limits.py::test_a_server_lets_in_as_many_as_it_has_open_files_for",
            ),
        ),
    ),
    Scenario(
        what="a fifth of a processor",
        holds="it takes longer; no time-out of ours takes the machine for a dead line",
        tests=("test_limits.py",),
        mutations=(),
    ),
)
