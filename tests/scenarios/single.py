"""Files that go in one request, since a server has no Uploads or somebody wants it so."""

from scenarios.scenario import Mutation, Scenario

_POSTING = "test_posting.py::"
_SINGLE = "test_wire_single.py::"
_FALLBACK = "test_wire_fallback.py::"

SCENARIOS = (
    Scenario(
        what="a single request that breaks before its end, or is stopped or killed there",
        holds="no File can have come of it; it is sent again, and nothing has to be settled",
        tests=("test_posting.py", "test_kill_sweep.py"),
        mutations=(
            Mutation(
                takes_out="the end of the body goes out only after it was recorded",
                module="posting.py",
                was="        if self.ledger.state.phase is Phase.NEW:\n",
                becomes="        if False:\n",
                test=_SINGLE
                + "test_what_is_recorded_before_the_end_goes_out_is_all_that_a_kill_leaves",
            ),
            Mutation(
                takes_out="a body that was cut is no doubt",
                module="api.py",
                was="error.cut = not body.whole",
                becomes="error.cut = False",
                test=_POSTING + "test_a_body_that_was_cut_is_no_doubt_and_is_sent_again",
            ),
            Mutation(
                takes_out="content that is not what the file is never gets its end",
                module="proof.py",
                was="if self._pass.digests[span] != digest:",
                becomes="if False:",
                test=_POSTING + "test_content_that_was_changed_on_its_way_is_never_a_file",
            ),
        ),
    ),
    Scenario(
        what="a lost answer to a single request, one that is no answer, or `kill -9` before it",
        holds="the File is looked for two minutes long before it is sent once more; then exit 4",
        tests=("test_wire_single.py", "test_kill_sweep.py"),
        mutations=(
            Mutation(
                takes_out="a single request is looked for longer before it is repeated",
                module="finalizer.py",
                was="chain(self.looks, self._later(asking)) if asking.single else self.looks",
                becomes="self.looks",
                test=_SINGLE + "test_one_that_is_listed_late_is_waited_for",
            ),
            Mutation(
                takes_out="what was asked long ago is not waited for by each run anew",
                module="finalizer.py",
                was="if self._now - max(asking.moments) < WHILE + self.patience:",
                becomes="if self.looks:",
                test=_SINGLE + "test_one_of_long_ago_is_not_waited_for_by_each_run_anew",
            ),
            Mutation(
                takes_out="what is sent once more is what was sent before",
                module="proof.py",
                was="if earlier is not None and earlier.md5 != md5:",
                becomes="if False:",
                test=_SINGLE + "test_another_content_is_never_sent_for_one_in_doubt",
            ),
            Mutation(
                takes_out="words of a refusal that fit an Upload mean nothing here",
                module="finalizer.py",
                was="        about = Complaint.OTHER if asking.single else _about(error)\n"
                "        if about is Complaint.ENDED:",
                becomes="        about = _about(error)\n        if about is Complaint.ENDED:",
                test=_SINGLE + "test_a_refusal_of_the_content_ends_the_job[400]",
            ),
        ),
    ),
    Scenario(
        what="a server without Uploads, or with none of this purpose",
        holds="one request instead, said aloud, if the file fits; else refused before it is sent",
        tests=("test_wire_fallback.py",),
        mutations=(
            Mutation(
                takes_out="a refused Upload becomes a single request",
                module="run.py",
                was="return answer.status in {404, 405, 501} or (",
                becomes="return answer.status == 0 or (",
                test=_FALLBACK
                + "test_a_server_without_uploads_gets_one_request_and_that_is_said[404]",
            ),
            Mutation(
                takes_out="who asks for parts gets nothing else",
                module="run.py",
                was='if self._job.method != "auto" or self._created',
                becomes="if self._created",
                test=_FALLBACK + "test_who_asks_for_uploads_gets_nothing_else",
            ),
            Mutation(
                takes_out="what does not fit into one request is not sent in one",
                module="run.py",
                was="        fits(self._job.span, self._job.purpose, limits, single=True, "
                "path=self._job.path)\n",
                becomes="",
                test=_FALLBACK
                + "test_what_does_not_fit_into_one_request_is_refused_before_it_is_sent",
            ),
        ),
    ),
)
