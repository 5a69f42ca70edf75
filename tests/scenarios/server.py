"""The embedded server under abuse."""

from scenarios.scenario import Mutation, Scenario

SCENARIOS = (
    Scenario(
        what="`chunkup serve`: completes, parts and a cancel of one Upload at once",
        holds="one of them ends it; one File, of the parts that were named, or none",
        tests=("test_server_abuse.py", "test_server_store.py"),
        mutations=(
            Mutation(
                takes_out="an Upload that ended while its content was hashed makes no File",
                module="server/store.py",
                was="            require_pending(self._ledger.upload(upload_id))\n"
                "            stored =",
                becomes="            stored =",
                test="test_server_store.py"
                "::test_an_upload_that_ends_while_it_is_hashed_makes_no_second_file",
            ),
            Mutation(
                takes_out="a part is not added to an Upload that ended while it was on its way",
                module="server/store.py",
                was="upload = require_pending(self._ledger.upload(upload_id))\n                if",
                becomes="upload = self._ledger.upload(upload_id)\n                if",
                test="test_server_store.py::test_an_upload_that_ended_accepts_nothing",
            ),
        ),
    ),
    Scenario(
        what="`chunkup serve`: clients that drip, hold connections open, or read no answer",
        holds="75 s for a request's head, 60 s for each KiB of its body, 5 min to take any of an"
        " answer; who is merely slow is served",
        tests=("test_server_patience.py",),
        mutations=(
            Mutation(
                takes_out="a head that does not come is not waited for",
                module="server/connection.py",
                was="keepalive_timeout=patience.head,",
                becomes="keepalive_timeout=3600,",
                test="test_server_patience.py::test_who_never_asks_is_shown_out",
            ),
            Mutation(
                takes_out="a body that does not come is not waited for",
                module="server/patience.py",
                was="asyncio.timeout(self._left)",
                becomes="asyncio.timeout(None)",
                test="test_server_patience.py::test_a_body_that_does_not_come_is_not_waited_for",
            ),
            Mutation(
                takes_out="a body that comes byte by byte is not waited for",
                module="server/patience.py",
                was="if self._came >= _LEAST_BYTES:",
                becomes="if self._came:",
                test="test_server_patience.py::test_a_body_that_does_not_come_is_not_waited_for",
            ),
            Mutation(
                takes_out="a slow body is waited for as long as it comes",
                module="server/patience.py",
                was="self._left, self._came = self._patience, 0",
                becomes="self._came = 0",
                test="test_server_patience.py::test_a_slow_body_is_waited_for_as_long_as_it_comes",
            ),
            Mutation(
                takes_out="an answer that nobody reads is given up",
                module="server/connection.py",
                was="            transport.abort()\n",
                becomes="            pass\n",
                test="test_server_patience.py"
                "::test_an_answer_that_nobody_reads_is_not_kept_for_ever",
            ),
        ),
    ),
    Scenario(
        what="`chunkup serve`: broken HTTP, forms and JSON, or such as can be read in two ways",
        holds="refused in the API's shape and not repeated; memory is bounded; the next request"
        " is served",
        tests=("test_server_framing.py", "test_server_fuzz.py", "test_server_abuse.py"),
        mutations=(
            Mutation(
                takes_out="what is no request is not repeated, the key that it may hold included",
                module="server/connection.py",
                was='(message or "").partition(":")[0]',
                becomes='message or ""',
                test="test_server_framing.py"
                "::test_what_is_no_request_is_refused_and_the_connection_ends",
            ),
            Mutation(
                takes_out="the reader of a body learns at once that it is broken",
                module="server/connection.py",
                was="elif not self._newest.is_eof():",
                becomes="elif message is None:",
                test="test_server_framing.py::test_chunks_that_break_on_the_way_end_the_request",
            ),
            Mutation(
                takes_out="two keys are refused",
                module="server/app.py",
                was="if len(headers.getall(name, [])) > 1:",
                becomes="if len(headers.getall(name, [])) > 2:",
                test="test_server_framing.py::test_what_could_be_read_in_two_ways_is_refused",
            ),
            Mutation(
                takes_out="a JSON object with a key twice is refused",
                module="server/bodies.py",
                was="if len(found) < len(pairs):",
                becomes="if len(found) < 0:",
                test="test_server_abuse.py"
                "::test_json_that_is_too_much_or_says_two_things_is_refused",
            ),
            Mutation(
                takes_out="a file name in a header is escaped",
                module="server/handlers.py",
                was="quote(file.filename, '')",
                becomes="file.filename",
                test="test_server_abuse.py::test_a_filename_is_only_data",
            ),
        ),
    ),
    Scenario(
        what="`chunkup serve`: `kill -9` the moment it acknowledged, or a stop while clients"
        " connect",
        holds="every acknowledged part and File is there after a restart; no connection is"
        " forgotten",
        tests=("test_server_abuse.py", "test_server_framing.py", "test_server_app.py"),
        mutations=(
            Mutation(
                takes_out="a restart keeps the parts of Uploads that are under way",
                module="server/ledger.py",
                was="WHERE uploads.status = 'pending'\"\n        )\n        return {",
                becomes="WHERE uploads.status = 'completed'\"\n        )\n        return {",
                test="test_server_store.py"
                "::test_a_restart_carries_on_and_sweeps_what_was_half_done",
            ),
            Mutation(
                takes_out="a connection that was let in is served or closed",
                module="server/connection.py",
                was="        if self._coming:\n            await asyncio.wait(self._coming)\n",
                becomes="",
                test="test_server_framing.py"
                "::test_a_connection_that_comes_while_the_door_closes_is_not_forgotten",
            ),
        ),
    ),
)
