"""How fast, how often, how long: links, throttles and sleep."""

from scenarios.scenario import Mutation, Scenario

SCENARIOS = (
    Scenario(
        what="a server that throttles (429), with many workers",
        holds="nobody sends before it said so; requests slow down to what it takes; a wait that "
        "is longer than the Upload lives ends at once (75)",
        tests=("test_wire_throttle.py", "test_retry.py", "test_pace.py"),
        mutations=(
            Mutation(
                takes_out="a pause told to one worker holds all",
                module="retry.py",
                was="        self.gate.ask(wish)\n",
                becomes="",
                test="test_wire_throttle.py::test_nobody_sends_early_and_nobody_in_step"
                "[{'Retry-After': '1'}]",
            ),
            Mutation(
                takes_out="requests come less often after a 429",
                module="retry.py",
                was="            self.gate.throttled()\n",
                becomes="            pass\n",
                test="test_wire_throttle.py::test_a_storm_ends_in_the_rate_that_the_server_takes"
                "[ms]",
            ),
            Mutation(
                takes_out="workers wake at moments of their own",
                module="pace.py",
                was="return wait + min(wait * 0.2, 5.0) * chance if wait > 0 else 0.0",
                becomes="return wait * 0.9 if wait > 0 else 0.0",
                test="test_pace.py::test_a_pause_is_never_left_early_by_anybody",
            ),
            Mutation(
                takes_out="a wait beyond the Upload's life ends at once",
                module="retry.py",
                was="        if wish > limit:\n",
                becomes="        if wish > limit * 1e9:\n",
                test="test_retry.py::test_a_wait_beyond_the_limit_stops_at_once_and_closes_no_gate",
            ),
            Mutation(
                takes_out="a used-up account is not waited for",
                module="verdicts.py",
                was='answer.code == "insufficient_quota"',
                becomes='answer.code == "never"',
                test="test_wire_throttle.py::test_a_used_up_account_is_no_throttle[create]",
            ),
        ),
    ),
    Scenario(
        what="a thin uplink (0.5 to 5 Mbit/s, 300 ms, loss)",
        holds="two parts at a time instead of sixteen, so that receipts come early and nothing "
        "times out; over 80 % of the link is goodput",
        tests=("test_slots.py", "test_pool.py", "test_wire_thin.py"),
        mutations=(
            Mutation(
                takes_out="fewer parts are tried where each takes long",
                module="slots.py",
                was="        if down and turn > (_LONG if not up else _VERY_LONG):\n",
                becomes="        if not down and turn < 0:\n",
                test="test_slots.py::test_parts_of_other_sizes_are_few_too_where_they_take_long[16]",
            ),
            Mutation(
                takes_out="young parts beyond the count are cut",
                module="slots.py",
                was="        if beyond <= 0 or not self._cutting:\n",
                becomes="        if beyond <= 0 or self._cutting:\n",
                test="test_slots.py::test_what_is_nearly_through_is_finished_and_not_cut",
            ),
            Mutation(
                takes_out="a part that was cut for the others costs no retry",
                module="worker.py",
                was="            except GivenBack:\n"
                "                hands.moved(part, None)  # nobody's fault, so it costs no retry\n",
                becomes="            except GivenBack as error:\n"
                '                raise Unreachable("cut") from error\n',
                test="test_wire_thin.py::test_a_part_that_was_cut_for_the_others_is_sent_later_"
                "and_the_file_is_right",
            ),
        ),
    ),
    Scenario(
        what="a fast link on which each connection is capped, or lossy",
        holds="as many parts at once as `--workers` allows",
        tests=("test_slots.py", "test_wire_thin.py"),
        mutations=(
            Mutation(
                takes_out="more parts are tried, and kept if they bring more",
                module="slots.py",
                was="            self._set(min(self.ceiling, self.count * 2), now)\n",
                becomes="            self._set(self.count, now)\n",
                test="test_slots.py::test_loss_on_a_far_link_is_met_with_more_connections",
            ),
            Mutation(
                takes_out="fewer that carry less are taken back",
                module="slots.py",
                was="        elif self._goodput >= goodput * _HOLD:\n",
                becomes="        elif self._goodput >= 0:\n",
                test="test_slots.py::test_loss_on_a_far_link_is_met_with_more_connections",
            ),
        ),
    ),
    Scenario(
        what="one connection far slower than the others; a trickle in all",
        holds="the one is cut alone; less than 1 KiB/s for two minutes is no link (75)",
        tests=("test_slots.py", "test_pool.py", "test_pace.py"),
        mutations=(
            Mutation(
                takes_out="the one that lags is cut",
                module="slots.py",
                was="            return (flight,)\n",
                becomes="            return ()\n",
                test="test_slots.py::test_a_connection_far_behind_its_siblings_is_cut_alone_and_"
                "not_too_soon",
            ),
            Mutation(
                takes_out="a trickle is ended",
                module="pool.py",
                was="        if self._floor.look(now, self.total, sending=bool(sending)):\n",
                becomes="        if self._floor.look(now, self.total, sending=False):\n",
                test="test_pool.py::test_a_trickle_in_all_slots_is_ended",
            ),
        ),
    ),
    Scenario(
        what="a machine that sleeps, a process that is stopped for minutes",
        holds="dead connections are given up in seconds and cost no retry; living ones go on; the "
        "server is asked whether the Upload still lives",
        tests=("test_wire_sleep.py", "test_pace.py"),
        mutations=(
            Mutation(
                takes_out="sleep costs no retry",
                module="retry.py",
                was="isinstance(error, Unreachable) and error.slept",
                becomes="isinstance(error, Unreachable) and error.offline",
                test="test_retry.py::test_a_sleep_of_the_machine_costs_neither_budget_nor_attempts",
            ),
            Mutation(
                takes_out="a body has to move soon after it",
                module="pace.py",
                was="            return Verdict.SLEPT\n",
                becomes="            return Verdict.HEALTHY\n",
                test="test_pace.py::test_after_a_sleep_a_body_has_to_move_soon",
            ),
            Mutation(
                takes_out="time in which the process stood still does not count",
                module="pace.py",
                was="        if still > STILL:\n",
                becomes="        if still > 1e9:\n",
                test="test_pace.py::test_time_in_which_the_process_stood_still_counts_for_neither_"
                "clock",
            ),
        ),
    ),
)
