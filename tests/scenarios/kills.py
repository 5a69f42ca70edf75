"""Ends without a warning: kills, the power, and what is being written just then."""

from scenarios.scenario import Mutation, Scenario

_POWER = "test_power_loss.py::"
_WRITING = "test_kill_writing.py::"

SCENARIOS = (
    Scenario(
        what="`kill -9` before any system call: of a commit, a lock, a send, a print",
        holds="one right File; only what has no receipt goes again; an id that was printed or"
        " committed stays the id, and is printed by the next run if it was not",
        tests=("test_kill_calls.py", "test_kill_sweep.py"),
        mutations=(
            Mutation(
                takes_out="standard input that no job needs goes with the next `resume`",
                module="cli/resume.py",
                was="    await Spool.beside(journal.path).sweep(partial(still_needed, journal))\n",
                becomes="",
                test=_WRITING + "test_standard_input_of_a_job_that_ended_goes_with_the_next_resume",
            ),
        ),
    ),
    Scenario(
        what="killed by the system for want of memory",
        holds="`resume` goes on from the receipts",
        tests=("test_kill_calls.py::test_killed_for_want_of_memory_it_is_gone_on_with",),
        mutations=(),
    ),
    Scenario(
        what="the power goes: what was not yet synced is lost, in part and in any order",
        holds="the journal opens, and has every job, receipt and id that was told; one right File",
        tests=("test_power_loss.py",),
        mutations=(
            Mutation(
                takes_out="a commit is on the disk when it returns",
                module="journal/opening.py",
                was='"synchronous = EXTRA",',
                becomes='"synchronous = OFF",',
                test=_POWER + "test_what_was_told_of_an_upload_outlives_the_power",
            ),
            Mutation(
                takes_out="the journal's new folder is on the disk as well",
                module="durable.py",
                was="    sync_names(folder.parent)\n",
                becomes="",
                test=_POWER + "test_what_was_told_of_an_upload_outlives_the_power",
            ),
            Mutation(
                takes_out="standard input is on the disk before a job refers to it",
                module="spool.py",
                was="    os.fsync(target)\n    return size\n",
                becomes="    return size\n",
                test=_POWER + "test_a_job_outlives_the_power_only_with_its_standard_input",
            ),
        ),
    ),
    Scenario(
        what="a kill or the power while a manifest, a download or a mended file is written",
        holds="it is whole or absent, and there once the command says so; the same command again"
        " succeeds, and what was left lying is used or taken away",
        tests=("test_kill_writing.py", "test_power_loss.py"),
        mutations=(
            Mutation(
                takes_out="a manifest's name is on the disk when its command ends",
                module="manifest/sheet.py",
                was="                os.fsync(folder)\n",
                becomes="                pass\n",
                test=_POWER + "test_a_manifest_is_whole_or_absent_and_has_what_ended",
            ),
            Mutation(
                takes_out="a download's name is on the disk when its command ends",
                module="files/download.py",
                was="        sync_names(self._target.parent)\n        self._path.unlink(",
                becomes="        self._path.unlink(",
                test=_POWER + "test_a_download_is_whole_or_absent_and_is_there_once_it_was_told",
            ),
            Mutation(
                takes_out="which ids are new is on the disk before the file with them",
                module="preflight/fresh.py",
                was="        sync_names(self._target.parent)\n",
                becomes="",
                test=_POWER + "test_what_is_mended_is_there_with_its_new_ids_or_not_at_all",
            ),
            Mutation(
                takes_out="new ids without their file are not in the way of the next run",
                module="preflight/fresh.py",
                was="if hidden.let_go(mapping) and",
                becomes="if False and",
                test=_WRITING + "test_new_ids_without_their_file_are_taken_away",
            ),
            Mutation(
                takes_out="a file in their place that is somebody's stays",
                module="preflight/fresh.py",
                was="if hidden.let_go(mapping) and",
                becomes="if",
                test=_WRITING + "test_somebodys_file_in_their_place_is_not_taken_away",
            ),
            Mutation(
                takes_out="what another process is at stays",
                module="hidden.py",
                was=" and not _is_held(path)",
                becomes="",
                test=_WRITING + "test_nor_is_what_another_process_is_at",
            ),
            Mutation(
                takes_out="a whole download has no second, hidden name for ever",
                module="files/download.py",
                was="    hidden.let_go(target)\n",
                becomes="",
                test=_WRITING + "test_what_is_whole_and_hidden_still_has_one_name_then",
            ),
        ),
    ),
)
