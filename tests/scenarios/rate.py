"""What is held back on purpose: a limit to bytes a second, a limit of time, turns among files."""

from scenarios.scenario import Mutation, Scenario

SCENARIOS = (
    Scenario(
        what="a limit to what is sent (`--limit-rate`), with any number of workers and files",
        holds="kept within 3 % over all of them, what is sent again included; no burst after a "
        "rest; who waits for a turn has not stalled, and a stop waits for none",
        tests=("test_wire_rate.py", "test_pace.py", "test_slots.py"),
        mutations=(
            Mutation(
                takes_out="a body waits for its turn",
                module="body.py",
                was="        if wait <= 0:\n",
                becomes="        if wait >= 0:\n",
                test="test_wire_rate.py::test_a_body_goes_out_as_its_turns_come",
            ),
            Mutation(
                takes_out="a rest saves up next to nothing",
                module="pace.py",
                was="max(self._paid, now - _SAVED)",
                becomes="self._paid",
                test="test_pace.py::test_lost_time_is_made_good_for_a_tenth_of_a_second_and_no_more",
            ),
            Mutation(
                takes_out="who waits for a turn has not stalled",
                module="watching.py",
                was="resting=body.resting",
                becomes="resting=False",
                test="test_wire_rate.py::test_who_waits_for_a_turn_has_not_stalled",
            ),
            Mutation(
                takes_out="only who has nothing on its way rests",
                module="body.py",
                was="return self._waiting and self._acknowledged >= self._handed",
                becomes="return self.ration is not None",
                test="test_wire_rate.py::test_a_server_that_stops_reading_is_seen_below_a_limit_too",
            ),
            Mutation(
                takes_out="what was not sent is given back",
                module="body.py",
                was="            self.ration.give_back(size)\n",
                becomes="",
                test="test_wire_rate.py::test_a_stop_waits_for_no_turn_and_leaves_nobody_waiting",
            ),
            Mutation(
                takes_out="no more parts are tried where the limit is reached",
                module="slots.py",
                was="        up = up and self._goodput < self.limit * _HOLD\n",
                becomes="",
                test="test_slots.py::test_a_link_that_carries_its_limit_is_asked_for_no_more",
            ),
        ),
    ),
    Scenario(
        what="a command that has only so long (`--max-time`), wherever it is by then",
        holds="it stops as at a signal: receipts are kept, the command that continues is printed, "
        "exit 75",
        tests=("test_cli_max_time.py",),
        mutations=(
            Mutation(
                takes_out="the time that is over is told from a cancellation of others",
                module="cli/session.py",
                was="        over = True\n        task.cancel()\n",
                becomes="        task.cancel()\n",
                test="test_cli_max_time.py::test_what_had_not_begun_is_to_be_run_again",
            ),
        ),
    ),
    Scenario(
        what="files of hundreds of parts, and thousands of small ones in one command",
        holds="small ones wait for no large one, and a large one for few small ones; jobs take "
        "turns at the slots; an Upload is opened when there are slots for it, and not before",
        tests=("test_crowd.py", "test_pool.py"),
        mutations=(
            Mutation(
                takes_out="jobs take turns at the slots",
                module="pool.py",
                was="                self._waiting[of] = turns  # behind all others\n",
                becomes="                self._waiting = {of: turns, **self._waiting}\n",
                test="test_pool.py::test_jobs_take_turns_and_their_parts_keep_their_order",
            ),
            Mutation(
                takes_out="a slot that was given is not taken by who comes later",
                module="pool.py",
                was="self._busy + self._given < self.slots.count",
                becomes="self._busy < self.slots.count",
                test="test_pool.py::test_who_comes_later_takes_no_slot_that_was_given_to_another",
            ),
            Mutation(
                takes_out="small files go beside a large one",
                module="crowd.py",
                was="            return small if may else None\n",
                becomes="            return None\n",
                test="test_crowd.py::test_small_files_wait_for_no_large_one",
            ),
            Mutation(
                takes_out="an Upload is opened only when there are slots for it",
                module="crowd.py",
                was="        if self._missing >= slots:\n",
                becomes="        if self._missing >= 1e9:\n",
                test="test_crowd.py::test_a_large_file_is_open_alone_until_it_leaves_slots_free",
            ),
            Mutation(
                takes_out="a large file is not put off for ever",
                module="crowd.py",
                was="        return large if overdue else min(small, large)\n",
                becomes="        return min(small, large)\n",
                test="test_crowd.py::test_a_large_file_behind_a_stream_of_small_ones_begins_after_a"
                "_bounded_number",
            ),
            Mutation(
                takes_out="files that wait for their complete are bounded too",
                module="crowd.py",
                was="        if len(self._left) >= _RUNNING * slots:\n",
                becomes="        if len(self._left) >= 1e9:\n",
                test="test_crowd.py::test_each_begins_once_and_no_more_are_open_than_the_slots_can"
                "_feed",
            ),
        ),
    ),
)
