"""What can become of a file while it is sent, and between two runs."""

from scenarios.scenario import Mutation, Scenario

DURING = "test_source_ills.py::"
BETWEEN = "test_source_between.py::"
WAITS = "test_patience.py::"
MIXES = DURING + "test_no_file_mixes_two_versions_of_what_changed_while_it_was_sent"
HAS_IT = BETWEEN + "test_what_was_sent_is_used_only_if_the_file_still_has_it"
FIT = "test_fit.py::"
FITS = FIT + "test_no_piece_begins_that_does_not_fit_and_the_command_cuts_anew"
PIECES = DURING + "test_pieces_of_a_file_that_changes_are_all_of_one_version"

SCENARIOS = (
    Scenario(
        what="a file that is appended to, cut off, replaced, edited or moved while it is sent; an "
        "edit that puts the file's time back",
        holds="`source-changed` or `source-gone`, or a File of one whole version; also without "
        "MD5, also in a single request",
        tests=("test_source_ills.py", "test_proof.py", "test_reading.py"),
        mutations=(
            Mutation(
                takes_out="a file that was touched while it was sent is read once more",
                module="proof.py",
                was="        return before is not None and found.touched_since(before)\n",
                becomes="        return before is None\n",
                test=MIXES + "[edited in both, time put back-parts, no MD5]",
            ),
            Mutation(
                takes_out="a single request without MD5 is compared with that reading",
                module="proof.py",
                was="            if again.digests[span] != digest:",
                becomes="            if not again.digests:",
                test=MIXES + "[edited in both, time put back-single, no MD5]",
            ),
        ),
    ),
    Scenario(
        what="a file that changes while it is sent in pieces",
        holds="no piece of another version begins; those that arrived stay",
        tests=("test_source_ills.py",),
        mutations=(
            Mutation(
                takes_out="a piece begins only if the file is as it was when it was cut",
                module="engine.py",
                was="                await self._fit.see(job, wanted.fingerprint, "
                "between_runs=False)\n",
                becomes="                pass\n",
                test=PIECES + "[edited]",
            ),
        ),
    ),
    Scenario(
        what="between two runs: a file that is edited with its time put back, swapped for one of "
        "equal head and size, deleted, moved, copied back, on a disk that was mounted again",
        holds="what was sent is used if the file still has it, and nothing is sent twice; else "
        "exit 1, and the same `upload` sends the new content",
        tests=(
            "test_source_between.py",
            "test_fit.py",
            "test_proof_between_runs.py",
            "test_cli_resume.py",
        ),
        mutations=(
            Mutation(
                takes_out="a receipt is compared with what the file has there now",
                module="proof.py",
                was="            if found is None or found == receipt.xxh3:\n",
                becomes="            if True:\n",
                test=HAS_IT + "[edited there, time put back-no MD5]",
            ),
            Mutation(
                takes_out="another size is another content",
                module="proof.py",
                was="        if found.size != self._job.fingerprint.size:\n",
                becomes="        if found.size < 0:\n",
                test=HAS_IT + "[appended-no MD5]",
            ),
            Mutation(
                takes_out="a file that was touched since has to have what arrived of it",
                module="fit.py",
                was="if await md5_of(path, found, piece.job.span) != piece.md5:\n",
                becomes="if not piece.md5:\n",
                test=FITS + "[edit_what_arrived]",
            ),
            Mutation(
                takes_out="a piece of a file that was touched still ends where a record does",
                module="fit.py",
                was="            if not between or again",
                becomes="            if again",
                test=FITS + "[join_two_records]",
            ),
            Mutation(
                takes_out="what arrived of a file that was touched counts as done only if proven",
                module="journal/sets.py",
                was='(_touched(before, job) and row["md5"] is not None)\n',
                becomes="False\n",
                test=FIT + "test_a_whole_file_that_was_edited_after_it_arrived_is_sent_again",
            ),
            Mutation(
                takes_out="a file that was only touched is read instead of sent again",
                module="journal/sets.py",
                was="(_later(before, job) or _touched(before, job)):\n",
                becomes="_later(before, job):\n",
                test=FIT + "test_a_whole_file_that_was_edited_after_it_arrived_is_sent_again",
            ),
            Mutation(
                takes_out="the journal knows when the file was touched",
                module="journal/facts.py",
                was='            "touched_ns": job.fingerprint.touched_ns,\n',
                becomes="",
                test=FITS + "[edit_what_arrived]",
            ),
        ),
    ),
    Scenario(
        what="a disk that gives errors, or a network file system that answers nothing at all",
        holds="one Ctrl-C ends the command; after `--stall-timeout` the file is stopped with exit "
        "75 and the others go on; what was accepted is kept",
        tests=("test_source_hangs.py", "test_patience.py"),
        mutations=(
            Mutation(
                takes_out="who is cancelled leaves a call that hangs to itself",
                module="patience.py",
                was="            left = left if cancelled else GRACE\n",
                becomes="            left = patience\n",
                test=WAITS + "test_who_is_cancelled_waits_a_second_and_no_longer",
            ),
            Mutation(
                takes_out="calls that hang keep no other call waiting",
                module="patience.py",
                was="len(self._threads) < self._most:",
                becomes="len(self._threads) < 2:",
                test=WAITS + "test_there_is_one_more_thread_whenever_all_are_busy",
            ),
            Mutation(
                takes_out="no process waits for a thread that hangs",
                module="patience.py",
                was="target=self._run, name=name, daemon=True)",
                becomes="target=self._run, name=name)",
                test=WAITS + "test_no_process_waits_for_them_to_end",
            ),
        ),
    ),
)
