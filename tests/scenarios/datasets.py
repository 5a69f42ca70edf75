"""A dataset: files that must not go, pieces of files, sets that are sent in a certain way."""

from scenarios.scenario import Mutation, Scenario

_ASKED = "test_asked.py::"

SCENARIOS = (
    Scenario(
        what="one bad file among many",
        holds="it is kept back and the others go (exit 1); once it is mended, the same command "
        "sends it alone",
        tests=("test_asked.py", "test_checking.py", "test_dataset_shards.py"),
        mutations=(
            Mutation(
                takes_out="what must not go is not sent",
                module="checking.py",
                was="    if not report.errors:\n",
                becomes="    if True:\n",
                test=_ASKED + "test_one_of_many_that_fails_is_kept_back_and_the_others_go",
            ),
            Mutation(
                takes_out="what was never begun is checked by whoever resumes it",
                module="run.py",
                was="        await check_before(self._ledger, self._shop.api.provider)\n",
                becomes="",
                test=_ASKED + "test_what_was_never_begun_is_still_checked_when_it_is_resumed",
            ),
            Mutation(
                takes_out="what is kept back keeps its set unfinished",
                module="journal/sets.py",
                was="(kind IS NULL OR kind = 'failed' OR",
                becomes="(kind IS NULL OR",
                test=_ASKED + "test_one_of_many_that_fails_is_kept_back_and_the_others_go",
            ),
        ),
    ),
    Scenario(
        what="a file in pieces that is killed, cut otherwise, appended to or edited in between",
        holds="the pieces of one cut tile one content: what is open of another cut is dropped, "
        "said aloud, and nothing is mixed",
        tests=("test_asked.py", "test_dataset_shards.py", "test_records_cutter.py"),
        mutations=(
            Mutation(
                takes_out="a file goes on as it was cut",
                module="asked.py",
                was="    split = before or limits_of(",
                becomes="    split = limits_of(",
                test=_ASKED + "test_a_stopped_cut_goes_on_as_it_was_cut",
            ),
            Mutation(
                takes_out="pieces of another cut are dropped",
                module="engine.py",
                was="        for job in await journal.superseded(wanted):\n",
                becomes="        for job in list[Job]():\n",
                test=_ASKED + "test_another_cut_drops_the_open_pieces_of_the_first_and_says_so",
            ),
            Mutation(
                takes_out="pieces of a file that was edited in place are not gone on with",
                module="engine.py",
                was="await self._fit.see(job, job.fingerprint, between_runs=continued, "
                "moved_to=at)",
                becomes="pass",
                test="test_dataset_shards.py::test_a_file_that_changed_between_two_runs_is_sent_as_it"
                "_is_now_and_never_mixed[changed behind]",
            ),
        ),
    ),
    Scenario(
        what="a set with a manifest, or one that skips what is there, that is killed and resumed",
        holds="whoever goes on with it does it in the same way, and completes the same manifest",
        tests=("test_asked.py", "test_roll.py"),
        mutations=(
            Mutation(
                takes_out="the journal knows how a set is sent",
                module="asked.py",
                was="    if manifest is not None or manner.skip_existing:\n",
                becomes="    if False:\n",
                test=_ASKED + "test_a_set_keeps_its_manifest_and_whoever_resumes_it_completes_that",
            ),
        ),
    ),
)
