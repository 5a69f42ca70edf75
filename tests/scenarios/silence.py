"""Below HTTP: lines that fall silent, lines that are merely slow, networks that are not there."""

from scenarios.scenario import Mutation, Scenario

SCENARIOS = (
    Scenario(
        what="a line that falls silent: black hole, half-open connection, stopped server",
        holds="cut after `--stall-timeout`, and sent again; the other parts go on meanwhile",
        tests=("test_wire_stalls.py", "test_wire_netns.py", "test_watching.py", "test_body.py"),
        mutations=(
            Mutation(
                takes_out="a body that does not move is cut",
                module="pace.py",
                was="return Verdict.STALLED if",
                becomes="return Verdict.HEALTHY if",
                test="test_wire_stalls.py::test_the_other_slot_goes_on_while_one_waits_for_silence",
            ),
            Mutation(
                takes_out="what the system still holds is no progress",
                module="body.py",
                was='    return int(struct.unpack("i", packed)[0])\n',
                becomes="    return 0 * len(packed)\n",
                test="test_body.py::test_what_the_system_still_holds_is_no_progress",
            ),
            Mutation(
                takes_out="what the buffers of TLS still hold is no progress",
                module="body.py",
                was="(below.get_write_buffer_size() if below is not None else 0)",
                becomes="0",
                test="test_body.py::test_on_a_thin_line_progress_is_what_went_through[tls]",
            ),
            Mutation(
                takes_out="a connection that was cut does not wait for its buffer",
                module="body.py",
                was="            self._transport.abort()\n",
                becomes="            pass\n",
                test="test_wire_stalls.py"
                "::test_no_connection_stays_behind_though_much_was_still_to_be_written",
            ),
            Mutation(
                takes_out="what a cut attempt left in the system is not sent any more",
                module="body.py",
                was="        _linger(self._transport, on=False)\n",
                becomes="",
                test="test_body.py"
                "::test_what_a_cut_attempt_left_in_the_system_is_not_sent_any_more"
                "[plain-8388608]",
            ),
        ),
    ),
    Scenario(
        what="a line or a server that is only slow: thin link, buffering gateway, long `complete`",
        holds="left alone as long as bytes arrive, or as long again as the body took",
        tests=("test_wire_stalls.py", "test_watching.py"),
        mutations=(
            Mutation(
                takes_out="a gateway may take as long again as the body did",
                module="pace.py",
                was="max(2 * self.stall, 2 * (self._sent_at - self.started))",
                becomes="2 * self.stall",
                test="test_wire_stalls.py"
                "::test_a_gateway_that_buffers_is_given_as_long_again_as_the_body_took",
            ),
            Mutation(
                takes_out="`complete` has a clock of its own",
                module="api.py",
                was="aiohttp.ClientTimeout(total=self._complete_timeout,",
                becomes="aiohttp.ClientTimeout(total=self._stall,",
                test="test_wire_stalls.py::test_a_complete_may_take_far_longer_than_anything_else",
            ),
        ),
    ),
    Scenario(
        what="no network, no name service, a server that is away",
        holds="waited for (`--offline-wait`), free of retries; goes on by itself, or exit 75",
        tests=("test_wire_offline.py", "test_wire_netns.py", "test_foreign.py"),
        mutations=(
            Mutation(
                takes_out="a missing network costs no retry",
                module="retry.py",
                was="if isinstance(error, Unreachable) and error.offline:",
                becomes="if error is None:",
                test="test_wire_offline.py"
                "::test_a_network_that_is_gone_is_waited_for_in_time_and_not_in_retries",
            ),
            Mutation(
                takes_out="a name with several addresses, all out of reach, is no network either",
                module="foreign.py",
                was="return {error.errno} if error.errno else several\n",
                becomes="return {error.errno or 0}\n",
                test="test_foreign.py::test_no_network_is_told_from_a_server_that_is_not_there",
            ),
            Mutation(
                takes_out="a part that never had a connection was surely not sent",
                module="watching.py",
                was='or longer", sent=body.begun)',
                becomes='or longer")',
                test="test_foreign.py"
                "::test_a_part_that_waits_for_its_connection_was_surely_not_sent",
            ),
            Mutation(
                takes_out="a name service that hangs holds up no stop",
                module="transport.py",
                was="resolver=names.resolver(), keepalive_timeout=15",
                becomes="keepalive_timeout=15",
                test="test_names.py"
                "::test_no_call_needs_the_threads_that_are_waited_for_at_the_end[list]",
            ),
        ),
    ),
)
