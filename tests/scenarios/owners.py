"""Two processes and one job: who has it, and what is left of a claim."""

from scenarios.scenario import Mutation, Scenario

SCENARIOS = (
    Scenario(
        what="two that want the same job, file or set, in every order: `upload`, `resume`, "
        "`--again`, `--fresh`, `--takeover`, `cancel`, `prune`, from the command line and programs",
        holds="one has it, the other changes nothing, exits 3 and names the first; every "
        "interleaving of their steps was gone through in a model that the journal is held to",
        tests=("test_owners.py", "test_claims_model.py", "test_claims_walks.py"),
        mutations=(
            Mutation(
                takes_out="a fact is recorded only by whom the row names",
                module="journal/journal.py",
                was="            self._owner.check(db, job_id)\n            write_fact(",
                becomes="            write_fact(",
                test="test_claims_walks.py::test_journals_do_what_the_model_does",
            ),
            Mutation(
                takes_out="a release changes only a row that names who releases",
                module="journal/claims.py",
                was=""" WHERE id = ? AND owner = ?",
            [job_id, self.id],""",
                becomes=""" WHERE id = ?",
            [job_id],""",
                test="test_claims_walks.py::test_journals_do_what_the_model_does",
            ),
            Mutation(
                takes_out="a job that was taken and is free again is not run twice in a process",
                module="journal/claims.py",
                was="        if job_id in self._claimed:\n            # Even",
                becomes="        if False:\n            # Even",
                test="test_owners_gone.py::"
                "test_a_job_that_was_taken_and_is_free_again_is_not_run_twice_in_one_process",
            ),
        ),
    ),
    Scenario(
        what="an owner that is killed at any call of its claim; files of dead owners; its process "
        "number in use by another; containers that share a journal",
        holds="the next one has the job at once, and clears away what is left; locks tell who "
        "lives, numbers never",
        tests=("test_owners_gone.py",),
        mutations=(
            Mutation(
                takes_out="files of dead owners are cleared away",
                module="journal/claims.py",
                was="                if _ID.fullmatch(left) and not self.lives(left):",
                becomes="                if False:",
                test="test_owners_gone.py::"
                "test_files_of_the_dead_are_cleared_away_and_nothing_else",
            ),
            Mutation(
                takes_out="an owner's name in a journal from elsewhere is not taken for a path",
                module="journal/claims.py",
                was="        if not _ID.fullmatch(owner):\n            return False\n",
                becomes="",
                test="test_owners_gone.py::"
                "test_an_owner_in_the_journal_that_is_a_path_leads_nowhere",
            ),
        ),
    ),
    Scenario(
        what="a job that is stopped or cancelled in a program or notebook that lives on, at any "
        "moment, also twice, or because the disk is full",
        holds="it is free at once for everybody",
        tests=("test_owners.py", "test_owners_gone.py"),
        mutations=(
            Mutation(
                takes_out="a claim that was cancelled while it was committed is given back",
                module="journal/journal.py",
                was="who is cancelled here never gives it back.\n            if claimed:",
                becomes="\n            if False:",
                test="test_owners.py::"
                "test_who_is_cancelled_while_its_claim_is_committed_gives_it_back",
            ),
            Mutation(
                takes_out="a second cancellation does not keep what waits claimed",
                module="dataset.py",
                was="            await outlast(_tidy(journal, roll, running, ids))",
                becomes="            await _tidy(journal, roll, running, ids)",
                test="test_owners.py::test_a_set_that_is_cancelled_twice_holds_nothing_afterwards",
            ),
            Mutation(
                takes_out="where a release reaches no disk, the lock is let go of",
                module="journal/claims.py",
                was="        if self._stale and not self._claimed:",
                becomes="        if False:",
                test="test_owners_gone.py::"
                "test_what_the_disk_did_not_let_it_give_back_is_free_all_the_same",
            ),
        ),
    ),
    Scenario(
        what="a process that is stopped (Ctrl-Z) in the middle of a commit, or while it opens the "
        "journal",
        holds="the others say so after half a minute instead of waiting for ever",
        tests=("test_owners_forked.py",),
        mutations=(
            Mutation(
                takes_out="the lock of the opening is waited for only so long",
                module="journal/opening.py",
                was="        flock(lock, LOCK_EX | LOCK_NB)",
                becomes="        flock(lock, LOCK_EX)",
                test="test_owners_forked.py::"
                "test_one_that_is_stopped_while_it_opens_the_journal_is_not_waited_for_for_ever",
            ),
        ),
    ),
    Scenario(
        what="a program that forks: workers by `os.fork` or `multiprocessing`, also in the middle "
        "of a commit, and programs started with all descriptors",
        holds="children hold nothing of their parent's and can use the journal; an uploader that "
        "was opened before says that it cannot be used there",
        tests=("test_owners_forked.py", "test_journal_claims.py"),
        mutations=(
            Mutation(
                takes_out="no process is forked in the middle of a commit",
                module="journal/scribe.py",
                was="                    with self._unforked:\n"
                "                        self._carry_out(db, batch)",
                becomes="                    self._carry_out(db, batch)",
                test="test_owners_forked.py::"
                "test_a_child_that_is_forked_during_a_commit_can_use_the_journal",
            ),
            Mutation(
                takes_out="a journal that a fork brought along is refused",
                module="journal/scribe.py",
                was="        if not self._thread.is_alive():",
                becomes="        if False:",
                test="test_owners_forked.py::"
                "test_an_uploader_that_a_fork_brought_along_says_so_and_does_not_hang",
            ),
        ),
    ),
)
