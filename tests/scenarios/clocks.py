"""This machine's clock is put hours forth or back."""

from scenarios.scenario import Mutation, Scenario

JUMPS = "test_clock_jumps.py::"

SCENARIOS = (
    Scenario(
        what="this machine's clock jumps by hours, during a run or between two",
        holds="Uploads and Files are over by the server's clock alone; no wait grows, no second "
        "File is made, and every job is still found",
        tests=("test_clock_jumps.py", "test_wire_sleep.py", "test_wire_time.py"),
        mutations=(
            Mutation(
                takes_out="a File of the set is over by the server's clock",
                module="journal/sets.py",
                was="file.expires_at <= now:",
                becomes="file.expires_at <= time.time():",
                test=JUMPS + "test_whether_a_file_is_over_is_judged_by_the_time_that_is_given",
            ),
            Mutation(
                takes_out="a measured speed from the future is none",
                module="journal/journal.py",
                was="time.time() + 60]",
                becomes="time.time() + 1e9]",
                test=JUMPS
                + "test_how_fast_a_link_was_is_believed_for_its_time_and_not_from_the_future"
                "[-18000.0]",
            ),
            Mutation(
                takes_out="a clock that is set back shows no wait for hours",
                module="render/tally.py",
                was="        return 0 <= now - self.since < max",
                becomes="        return now - self.since < max",
                test=JUMPS + "test_a_clock_that_is_set_back_shows_no_wait_for_hours",
            ),
        ),
    ),
)
