"""Answers that are lost, and what may have come of the question."""

from scenarios.scenario import Mutation, Scenario

_PARTS = "test_wire_parts.py::"
_COMPLETE = "test_wire_complete.py::"
_THEIRS = "test_wire_complete_theirs.py::"

SCENARIOS = (
    Scenario(
        what="a lost answer to a part: a reset, a 502, silence, nonsense",
        holds="the part is sent again; exactly one id per part is used",
        tests=("test_wire_parts.py", "test_worker_lost.py"),
        mutations=(
            Mutation(
                takes_out="a part that is still being repeated counts as lost for its siblings",
                module="link.py",
                was="(self._answer_lost or self._ledger.state.answer_lost)",
                becomes="self._ledger.state.answer_lost",
                test=_PARTS + "test_a_loss_that_is_still_being_repeated_counts_when_another_part_"
                "is_refused",
            ),
        ),
    ),
    Scenario(
        what="a server that counts such a part twice",
        holds="a new Upload, said aloud; after three of them a sentence, never a failed job",
        tests=("test_wire_parts.py", "test_run.py", "test_finalizer.py"),
        mutations=(
            Mutation(
                takes_out="a complete refused about bytes after a loss ends the Upload only",
                module="finalizer.py",
                was="if about is Complaint.SIZE and self.answer_lost:",
                becomes="if False:",
                test=_PARTS + "test_a_file_of_one_part_is_no_exception[refuse]",
            ),
            Mutation(
                takes_out="a part refused about bytes after a loss ends the Upload only",
                module="link.py",
                was='            return "miscounted"\n',
                becomes="            raise error\n",
                test=_PARTS + "test_a_file_of_one_part_is_no_exception[count]",
            ),
            Mutation(
                takes_out="an Upload that takes no more parts is followed by another",
                module="link.py",
                was="{Complaint.EXPIRED, Complaint.CANCELLED, Complaint.ENDED}",
                becomes="{Complaint.EXPIRED}",
                test=_PARTS + "test_an_upload_that_takes_no_more_parts_is_followed_by_another",
            ),
        ),
    ),
    Scenario(
        what="a lost answer to `complete`, or one that is no answer; `kill -9` before it came",
        holds="the File is looked for, never made twice; if it can't be told, exit 4",
        tests=(
            "test_wire_complete.py",
            "test_wire_complete_killed.py",
            "test_finalizer_doubt.py",
            "test_search.py",
        ),
        mutations=(
            Mutation(
                takes_out="a complete that may have been carried out is not repeated blindly",
                module="finalizer.py",
                was="                    error.retryable = False\n",
                becomes="                    pass\n",
                test=_COMPLETE
                + "test_a_file_that_is_made_unheard_is_found_and_never_asked_for_again[502]",
            ),
            Mutation(
                takes_out="it is looked for before it is asked for again",
                module="finalizer.py",
                was="chain(self.looks, self._later(asking)) if asking.single else self.looks\n"
                "        if found := await self.search.look(looks, *asking.moments, "
                "ended=asking.single):",
                becomes="()\n        if found := None:",
                test=_COMPLETE + "test_a_server_that_makes_a_file_at_every_ask_is_asked_once_where_"
                "it_lists_them",
            ),
            Mutation(
                takes_out="an old File of equal name is not taken for ours",
                module="search.py",
                was="-SLACK <= file.created_at - asked",
                becomes="-1e9 <= file.created_at - asked",
                test="test_search.py::test_an_older_file_of_the_same_name_and_size_is_not_ours",
            ),
            Mutation(
                takes_out="a File of another job of ours is not taken for this one's",
                module="search.py",
                was="file.id in taken or file.purpose",
                becomes="file.purpose",
                test="test_search.py::test_a_file_that_is_another_jobs_is_not_ours",
            ),
            Mutation(
                takes_out="a server that asks for patience beside a doubt is not asked before",
                module="retry.py",
                was=" or isinstance(error, ServerTrouble) else None",
                becomes=" else None",
                test=_COMPLETE + "test_who_asks_for_patience_beside_a_doubt_is_not_asked_before",
            ),
        ),
    ),
    Scenario(
        what="a File that is listed only a while later; a second `complete` refused in any words",
        holds="it is waited for, two minutes long; no refusal makes a second File of it",
        tests=("test_wire_complete.py",),
        mutations=(
            Mutation(
                takes_out="after a second ask the list is read for a while longer",
                module="finalizer.py",
                was="moments = tuple(minutes(min(max(0.0, left), self.patience)))",
                becomes="moments = (0.0,)",
                test=_COMPLETE
                + "test_a_file_that_is_listed_after_a_second_ask_is_still_the_one[404]",
            ),
            Mutation(
                takes_out="what a second ask is answered does not fail the job",
                module="finalizer.py",
                was="return await self._refused_again(asking, answer)",
                becomes="return await self._refused(asking, answer)",
                test=_COMPLETE
                + "test_a_file_that_is_never_listed_is_left_to_a_person[words of its own]",
            ),
        ),
    ),
    Scenario(
        what="another client's File of equal name, size and purpose, made in the same hour",
        holds="not taken at the official API; elsewhere only if it is the only one, else exit 4",
        tests=("test_wire_complete_theirs.py",),
        mutations=(
            Mutation(
                takes_out="of two Files that fit none is taken",
                module="search.py",
                was="if len(seen) > 1:",
                becomes="if False:",
                test=_THEIRS + "test_two_files_that_fit_are_named_and_none_is_taken[60]",
            ),
            Mutation(
                takes_out="one that only its time speaks for is looked at twice",
                module="search.py",
                was="if any(self.stamped(file) or file.id in before for file in seen.values()):",
                becomes="if seen:",
                test=_THEIRS + "test_ours_that_is_listed_after_theirs_is_not_overlooked",
            ),
            Mutation(
                takes_out="where Files have their Uploads' moments, no other moment will do",
                module="search.py",
                was="ended or not self.api.provider.stamps",
                becomes="True",
                test=_THEIRS + "test_where_a_file_has_its_uploads_moment_theirs_alone_is_not_taken",
            ),
            Mutation(
                takes_out="a File from much later is not taken for ours",
                module="search.py",
                was=" - asked <= WHILE",
                becomes=" - asked <= 1e9",
                test=_THEIRS + "test_a_file_of_much_later_is_nowhere_taken_for_ours[4000]",
            ),
        ),
    ),
)
