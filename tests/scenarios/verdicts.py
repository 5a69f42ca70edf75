"""What a server, a gateway or the line can answer, and what is done about it."""

from scenarios.scenario import Mutation, Scenario

_CELL = "test_wire_verdicts.py::test_each_call_meets_each_fault"

SCENARIOS = (
    Scenario(
        what="any status from 300 to 599, on any call, for ever",
        holds="asked again where that can help, and only then; a handful of times, then a sentence",
        tests=("test_wire_verdicts.py", "test_verdicts.py"),
        mutations=(
            Mutation(
                takes_out="what a server does not have is not asked for again",
                module="verdicts.py",
                was="    501: (Rejected, False),\n",
                becomes="",
                test=_CELL + "[create-501]",
            ),
            Mutation(
                takes_out="what is too early is asked for again",
                module="verdicts.py",
                was="    425: (ServerTrouble, True),\n",
                becomes="",
                test=_CELL + "[part-425]",
            ),
            Mutation(
                takes_out="the server's own word about repeating overrules the table",
                module="verdicts.py",
                was="retryable=retryable if wish is None else wish",
                becomes="retryable=retryable",
                test=_CELL + "[part-trouble, not again]",
            ),
            Mutation(
                takes_out="a used up quota is no rate to be waited for",
                module="verdicts.py",
                was='if status == 429 and answer.code == "insufficient_quota":',
                becomes="if False:",
                test=_CELL + "[create-no quota]",
            ),
            Mutation(
                takes_out="a refusal of complete that is not about the content ends no job",
                module="finalizer.py",
                was="if about in {Complaint.CHECKSUM, Complaint.SIZE} or _final(error):",
                becomes="if True:",
                test=_CELL + "[complete-402]",
            ),
        ),
    ),
    Scenario(
        what="a connection that is refused, reset or cut at any point; half an answer",
        holds="one retry layer, counted; nothing repeats a request behind its back",
        tests=("test_wire_verdicts.py", "test_api_faults.py", "test_foreign.py"),
        mutations=(
            Mutation(
                takes_out="aiohttp repeats nothing by itself",
                module="transport.py",
                was="session._retry_connection = False",
                becomes="session._retry_connection = True",
                test=_CELL + "[list-reset after the body]",
            ),
        ),
    ),
    Scenario(
        what="an early answer while a part is still being sent, a 200 among them",
        holds="a refusal is heard; a success to half a part is none",
        tests=("test_api_faults.py", "test_wire_verdicts.py"),
        mutations=(
            Mutation(
                takes_out="a success counts only if the whole part went",
                module="api.py",
                was="if body.xxh3 is None or not done.done() or done.exception() is not None:",
                becomes="if False:",
                test="test_api_faults.py::test_a_success_to_a_part_whose_reader_is_slow_is_none_"
                "either",
            ),
        ),
    ),
    Scenario(
        what="a page for JSON, an empty 200, an error in a 200; errors in every shape",
        holds="no success; the words a person can read are said, and decide nothing by their style",
        tests=("test_wire_verdicts.py", "test_verdicts.py", "test_answers.py"),
        mutations=(
            Mutation(
                takes_out="of a page only its title is read",
                module="verdicts.py",
                was=" or _words(body)",
                becomes=" or body",
                test="test_verdicts.py::test_the_message_is_found_in_every_shape_of_body",
            ),
        ),
    ),
    Scenario(
        what="`--method uploads` where there are none; a server that takes smaller parts only",
        holds="one sentence that says so, and the command that helps",
        tests=("test_wire_verdicts.py", "test_wire_parts.py"),
        mutations=(
            Mutation(
                takes_out="a server without Uploads is said to be one",
                module="verdicts.py",
                was="    (Call.CREATE, 405): _NO_UPLOADS,\n",
                becomes="",
                test="test_wire_verdicts.py::test_a_server_without_uploads_is_said_to_be_one[405]",
            ),
            Mutation(
                takes_out="a part that is too large is answered by a smaller size",
                module="link.py",
                was="if error.answer is not None and error.answer.status == 413:",
                becomes="if False:",
                test="test_wire_parts.py::test_parts_that_are_too_large_are_cut_anew_until_they_are_"
                "taken",
            ),
        ),
    ),
    Scenario(
        what="a Retry-After in the past, by another clock, or of ten thousand years",
        holds="the usual wait, the server's own time, or an end at once",
        tests=("test_verdicts_waits.py",),
        mutations=(
            Mutation(
                takes_out="a date is read against the clock that it was written by",
                module="verdicts.py",
                was="since = now if told is None else told",
                becomes="since = now",
                test="test_verdicts_waits.py::test_a_date_without_the_answers_own_is_read_against_"
                "the_clock_that_is_believed",
            ),
            Mutation(
                takes_out="an absurd wait is one that a sentence can hold",
                module="verdicts.py",
                was="return min(seconds, FOREVER)",
                becomes="return seconds",
                test="test_verdicts_waits.py::test_a_wait_that_nobody_could_make_ends_at_once_and_"
                "is_said_in_a_sentence[absurd-create]",
            ),
        ),
    ),
)
