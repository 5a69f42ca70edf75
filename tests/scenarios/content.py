"""What goes out, what arrives of it, and what is counted meanwhile."""

from scenarios.scenario import Mutation, Scenario

BODIES = "test_wire_bodies.py::"
GARBLED = "test_wire_garbled.py::"
COUNTERS = "test_wire_counters.py::"

SCENARIOS = (
    Scenario(
        what="an attempt that broke after any number of bytes; a file that shrinks under one",
        holds="the next is whole again: the exact length, a fresh boundary; nothing is padded",
        tests=("test_wire_bodies.py", "test_body.py"),
        mutations=(
            Mutation(
                takes_out="each attempt makes its own body",
                module="worker.py",
                was="        body = FormBody(chunks, part.size)\n",
                becomes="        old = vars(send_part)\n"
                "        body = old.setdefault(part, FormBody(chunks, part.size))\n",
                test=BODIES + "test_a_broken_attempt_uses_up_nothing[400]",
            ),
            Mutation(
                takes_out="each body has a boundary of its own",
                module="body.py",
                was="boundary = secrets.token_hex(16)",
                becomes='boundary = "0" * len(secrets.token_hex(16))',
                test=BODIES + "test_a_part_that_is_sent_again_is_whole_again[1000-1-1001]",
            ),
            Mutation(
                takes_out="the announced length covers the frame",
                module="body.py",
                was="len(self._head) + size + len(self._tail)",
                becomes="len(self._head) + size",
                test=BODIES + "test_a_broken_attempt_uses_up_nothing[0]",
            ),
            Mutation(
                takes_out="a file that became shorter is not made up for",
                module="reading.py",
                was="                if not chunk:\n                    raise",
                becomes="                chunk = chunk or bytes(min(read_size, left))\n"
                "                if left < 0:\n                    raise",
                test=BODIES + "test_a_source_that_shrinks_under_an_attempt_is_never_padded[False]",
            ),
        ),
    ),
    Scenario(
        what="a gateway that flips a bit, adds or takes a newline, frames parts anew, answers "
        "500 in its own words",
        holds="other content is refused where the server compares MD5 or length, and seen in the "
        "File's length where it doesn't; no File is used that differs in length. A flipped bit "
        "goes unseen only where nobody compares an MD5: a server without, or `--no-md5`",
        tests=("test_wire_garbled.py",),
        mutations=(
            Mutation(
                takes_out="the MD5 is sent, so that a server can compare it",
                module="run.py",
                was="action.part_ids, md5, now())",
                becomes="action.part_ids, None, now())",
                test=GARBLED
                + "test_a_flipped_bit_is_refused_by_the_servers_md5_and_said_to_be_what_it_is",
            ),
            Mutation(
                takes_out="it is said what a refused MD5 means",
                module="run.py",
                was="                refusal = _explained(refusal, self._job, "
                "single=self._asked_for == SINGLE)\n",
                becomes="",
                test=GARBLED
                + "test_a_flipped_bit_is_refused_by_the_servers_md5_and_said_to_be_what_it_is",
            ),
            Mutation(
                takes_out="a File of another length is not ours",
                module="search.py",
                was='raise BadAnswer(\n                f"the server made File {file.id} of ',
                becomes='BadAnswer(\n                f"the server made File {file.id} of ',
                test=GARBLED + "test_a_changed_length_is_seen_in_the_file_where_the_server_does_"
                "not_count[add_newline-True]",
            ),
            Mutation(
                takes_out="the hint after changed content sends it anew",
                module="cli/advice.py",
                was="    Rejected: _rejected,\n",
                becomes="",
                test=GARBLED + "test_the_command_says_what_happened_and_the_hint_sends_it_anew",
            ),
        ),
    ),
    Scenario(
        what="retries, changes of pace, kills, expiry, a sleep: what is counted meanwhile",
        holds="progress is never above 100 % and never falls unsaid; no bytes are counted twice; "
        "no time left is made up",
        tests=("test_wire_counters.py", "test_render_tally.py"),
        mutations=(
            Mutation(
                takes_out="what a failed attempt had sent is not counted any more",
                module="link.py",
                was="        self._gauge.moved(part, None)  # what",
                becomes="        # what",
                test="test_link.py::test_what_a_failed_attempt_had_sent_counts_no_more",
            ),
            Mutation(
                takes_out="bytes of a part that was accepted are not counted as sent as well",
                module="link.py",
                was="                self._gauge.land(part)\n",
                becomes="                pass\n",
                test="test_link.py::test_progress_is_never_above_the_size[False]",
            ),
            Mutation(
                takes_out="a picture never holds more than there is",
                module="render/tally.py",
                was="max(0, min(self.size, self.done + self.sent))",
                becomes="max(0, self.done + self.sent)",
                test="test_render_tally.py::test_any_sequence_adds_up",
            ),
            Mutation(
                takes_out="hours in which nothing was heard are no speed",
                module="render/tally.py",
                was=" or now - self._samples[-1][0] > _WINDOW:",
                becomes=":",
                test=COUNTERS + "test_after_a_sleep_no_time_left_is_made_up",
            ),
        ),
    ),
)
