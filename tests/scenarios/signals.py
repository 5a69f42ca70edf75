"""Signals, and the streams and places in which a command meets them."""

from scenarios.scenario import Mutation, Scenario

_AT_ONCE = "test_signals.py::test_a_signal_ends_it_at_once_and_says_how_to_go_on"

SCENARIOS = (
    Scenario(
        what="Ctrl-C, SIGTERM or a hang-up at any point of any command, from its first moment on: "
        "while it loads, checks, waits, looks up a name, proves, completes, asks a question",
        holds="it ends at once with its exit code, a sentence and the command that goes on; no "
        "claim, file or thread of it stays",
        tests=("test_signals.py",),
        mutations=(
            Mutation(
                takes_out="signals are felt while the command itself is still loaded",
                module="__main__.py",
                was="    heed()  # before all that takes time to load\n",
                becomes="",
                test=f"{_AT_ONCE}[loading-SIGINT]",
            ),
            Mutation(
                takes_out="what waits before there is a loop is left",
                module="cli/main.py",
                was="with signals.meeting(signals.interrupt):",
                becomes="with signals.meeting(signals._later):",
                test=f"{_AT_ONCE}[reading_a_list-SIGHUP]",
            ),
            Mutation(
                takes_out="a signal when all is done takes nothing back",
                module="cli/signals.py",
                was="_first, _restore = _later, restore",
                becomes="_restore = restore",
                test="test_signals.py::test_one_that_comes_when_all_is_done_is_none",
            ),
            Mutation(
                takes_out="a cancel that was interrupted says how to go on",
                module="cli/stop.py",
                was=', go_on=lambda: where.command("cancel", job)',
                becomes="",
                test=f"{_AT_ONCE}[cancelling-SIGHUP]",
            ),
        ),
    ),
    Scenario(
        what="a second signal, fifty in a row, or one that others send: nohup's hang-up, a stop "
        "for a while, SIGQUIT",
        holds="the second leaves at once, even if nothing in the program moves any more; what was "
        "accepted counts in any case; under `nohup` a hang-up is none",
        tests=("test_signals.py",),
        mutations=(
            Mutation(
                takes_out="a second signal puts the terminal right",
                module="cli/signals.py",
                was="        _restore()\n",
                becomes="",
                test="test_signals.py"
                "::test_a_second_one_leaves_though_the_loop_itself_is_stuck[2-2]",
            ),
            Mutation(
                takes_out="what is said last does not wait for the write that it interrupts",
                module="cli/signals.py",
                was="        _write_anew()\n",
                becomes="",
                test="test_signals.py"
                "::test_what_is_said_last_comes_though_a_signal_fell_into_a_write",
            ),
            Mutation(
                takes_out="a terminal that is stuck holds up no second signal",
                module="cli/signals.py",
                was="        timer.start()\n",
                becomes="",
                test="test_signals.py"
                "::test_a_terminal_that_cannot_be_put_right_holds_up_no_second_one",
            ),
            Mutation(
                takes_out="what nohup ignores stays ignored",
                module="cli/signals.py",
                was="if handler is not signal.SIG_IGN:",
                becomes="if handler is not None:",
                test="test_signals.py::test_under_nohup_a_hang_up_is_none",
            ),
        ),
    ),
    Scenario(
        what="standard output or error that nobody reads, that is full, or does not wait: a "
        "stopped pager, a pipe of another program's",
        holds="an upload goes on and is completed; who reads late gets all of it; an id that was "
        "not written counts as not printed and is said on standard error, or printed by the next "
        "run; nobody waits longer than two seconds for who reads what is only said; a signal or "
        "`--max-time` ends every such wait",
        tests=(
            "test_signals_places.py",
            "test_cli_output.py",
            "test_cli_unread.py",
            "test_cli_writer.py",
        ),
        mutations=(
            Mutation(
                takes_out="a signal ends the waiting for a reader",
                module="cli/streams.py",
                was="_end = min(_end, now + _LAST)",
                becomes="pass",
                test="test_signals_places.py::test_a_signal_ends_the_waiting_for_a_reader",
            ),
            Mutation(
                takes_out="what nobody reads is waited for once",
                module="cli/streams.py",
                was="                self._patience = 0.0\n",
                becomes="                pass\n",
                test="test_signals_places.py::test_what_nobody_reads_is_waited_for_once",
            ),
            Mutation(
                takes_out="a pipe that does not wait is waited for",
                module="cli/streams.py",
                was='io.BufferedWriter(_Heard(1, "w", closefd=False))',
                becomes='io.BufferedWriter(io.FileIO(1, "w", closefd=False))',
                test="test_signals_places.py::test_who_reads_late_gets_all_of_it[non-blocking]",
            ),
            Mutation(
                takes_out="a reader who is slow holds up no end",
                module="cli/streams.py",
                was="_end = min(_end, now + _LAST)",
                becomes="_end = now + _LAST",
                test="test_cli_writer.py::test_a_slow_reader_cannot_stretch_the_last_patience",
            ),
            Mutation(
                takes_out="who prints does not wait for who reads",
                module="cli/writer.py",
                was="                begin(thread)\n                self._thread = thread\n",
                becomes="                pass\n",
                test="test_cli_writer.py::test_nobody_waits_for_a_reader_before_the_end",
            ),
            Mutation(
                takes_out="an id counts as printed only once it is written",
                module="cli/output.py",
                was="        self._writer.add(Line(text if self._json is None else None, job_id",
                becomes="        self._writer._written.append(job_id)\n"
                "        self._writer.add(Line(text if self._json is None else None, None",
                test="test_cli_writer.py::test_an_id_counts_once_it_is_written",
            ),
            Mutation(
                takes_out="where many lines wait, more of how far it is adds none",
                module="cli/output.py",
                was="self._writer.waiting >= _CROWDED",
                becomes="self._writer.waiting < 0",
                test="test_cli_writer.py"
                "::test_progress_is_left_out_where_many_lines_wait_and_facts_are_not",
            ),
            Mutation(
                takes_out="ids that waited when the reader left are said elsewhere",
                module="cli/transfer.py",
                was="mark_printed(printed)\n        self._say_unheard()\n",
                becomes="mark_printed(printed)\n",
                test="test_cli_unread.py::test_a_reader_who_leaves_late_leaves_the_rest_on_stderr",
            ),
        ),
    ),
    Scenario(
        what="a container whose first process it is, a service that is stopped, cron, a terminal "
        "that goes, a notebook's cell that is interrupted or its kernel killed",
        holds="it ends as everywhere, needs neither a home nor a terminal, and a terminal's "
        "`resume` goes on at once",
        tests=("test_signals_places.py", "test_notebook.py"),
        mutations=(
            Mutation(
                takes_out="handlers are put back where a command ran in another program",
                module="cli/signals.py",
                was="            signal.signal(number, handler)\n",
                becomes="            pass\n",
                test="test_signals_places.py"
                "::test_handlers_are_put_back_where_a_command_ran_in_another_program",
            ),
        ),
    ),
)
