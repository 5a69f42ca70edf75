"""The manifest: on the disk whole, shared by commands, and compared with what the server has."""

from scenarios.scenario import Mutation, Scenario

_KEEPING = "test_manifest_keeping.py::"
_LINES = "test_manifest.py::"

_VERIFYING = "test_verifying.py::"

SCENARIOS = (
    Scenario(
        what="`--manifest`: `kill -9`, a full disk, or two commands with one file",
        holds="whole or absent at any moment, and nobody's entries are lost; the uploads go on"
        " without it, and the command says so",
        tests=("test_manifest_keeping.py", "test_manifest_arrived.py"),
        mutations=(
            Mutation(
                takes_out="what it says is on the disk before its name is",
                module="manifest/sheet.py",
                was="                os.fsync(handle.fileno())\n",
                becomes="",
                test=_KEEPING + "test_what_it_says_reaches_the_disk_before_its_name_does",
            ),
            Mutation(
                takes_out="of two commands one waits for the other",
                module="manifest/sheet.py",
                was="        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
                becomes="        pass\n",
                test=_KEEPING + "test_who_holds_the_folder_is_waited_for_but_not_for_ever",
            ),
            Mutation(
                takes_out="what another command added is read again",
                module="manifest/sheet.py",
                was="if _stamp(found) != self._seen:",
                becomes="if self._seen is None:",
                test=_KEEPING + "test_what_another_command_adds_meanwhile_stays",
            ),
            Mutation(
                takes_out="an error of the disk is told at the end",
                module="manifest/keeping.py",
                was="            raise self._error\n",
                becomes="            return\n",
                test=_KEEPING + "test_a_full_disk_leaves_what_was_there",
            ),
            Mutation(
                takes_out="a writing is not given up half-way",
                module="manifest/keeping.py",
                was="await outlast(self._closed())",
                becomes="await self._closed()",
                test=_KEEPING + "test_who_is_cancelled_at_the_end_has_it_written_all_the_same",
            ),
            Mutation(
                takes_out="ten thousand files are few writings",
                module="manifest/keeping.py",
                was="max(_PAUSE, _SHARE * took)",
                becomes="0",
                test=_KEEPING + "test_ten_thousand_files_are_few_writings_and_none_on_the_loop",
            ),
        ),
    ),
    Scenario(
        what="a manifest's path where something else is: other data, a link, a protected file",
        holds="what is no manifest is never overwritten; a link stays, and what it leads to is"
        " written; a new one is private",
        tests=("test_manifest_keeping.py", "test_manifest.py"),
        mutations=(
            Mutation(
                takes_out="a place is looked at before anything is sent",
                module="manifest/keeping.py",
                was="    sheet.check()\n",
                becomes="",
                test=_KEEPING + "test_a_file_that_is_no_manifest_is_never_overwritten",
            ),
            Mutation(
                takes_out="a link is followed, and not replaced",
                module="manifest/sheet.py",
                was="os.path.realpath(path)",
                becomes="os.path.abspath(path)",
                test=_KEEPING + "test_a_symbolic_link_stays_and_what_it_leads_to_is_written",
            ),
            Mutation(
                takes_out="a manifest keeps its mode",
                module="manifest/sheet.py",
                was="                    _be_like(self.path.stat(), descriptor)\n",
                becomes="                    pass\n",
                test=_KEEPING + "test_a_new_one_is_private_and_an_older_one_stays_as_it_was",
            ),
            Mutation(
                takes_out="a line has an end",
                module="manifest/sheet.py",
                was="handle.readline(_LONGEST)",
                becomes="handle.readline()",
                test=_LINES + "test_a_file_that_is_no_manifest_is_refused_with_its_line[length]",
            ),
        ),
    ),
    Scenario(
        what="`chunkup verify`: Files that were deleted, replaced, or are another account's",
        holds="each is named, and none stops the others; what the server keeps to itself is not"
        " compared and no failure; what a manifest says is believed nowhere",
        tests=("test_verifying.py", "test_cli_verify.py"),
        mutations=(
            Mutation(
                takes_out="another account's File is not asked for",
                module="verifying.py",
                was="            self._require_ours(entry.account)\n",
                becomes="",
                test=_VERIFYING + "test_entries_of_another_account_are_named_and_not_asked_for",
            ),
            Mutation(
                takes_out="an id is one before it is sent",
                module="verifying.py",
                was="an_id(entry.file)",
                becomes="entry.file",
                test=_VERIFYING + "test_an_id_that_cannot_be_one_is_not_asked_for",
            ),
            Mutation(
                takes_out="contents are compared",
                module="verifying.py",
                was="if found != wanted:",
                becomes="if False:",
                test=_VERIFYING + "test_a_content_that_was_replaced_differs",
            ),
            Mutation(
                takes_out="what is kept by the server is no failure",
                module="verifying.py",
                was="if status not in _KEPT or isinstance(error, Unauthorized):",
                becomes="if True:",
                test=_VERIFYING + "test_a_content_that_is_not_given_back_is_no_failure[400]",
            ),
            Mutation(
                takes_out="a File that vanishes meanwhile is not taken for one that is kept",
                module="verifying.py",
                was="            await self._retrieved(entry)  # or it vanished just now\n",
                becomes="",
                test=_VERIFYING + "test_a_file_that_vanishes_while_it_is_looked_at_is_gone",
            ),
            Mutation(
                takes_out="a server that is down is not asked about thousands of Files",
                module="verifying.py",
                was="self._in_trouble += 1",
                becomes="self._in_trouble += 0",
                test=_VERIFYING + "test_a_server_that_dies_ends_it_after_eight_in_a_row",
            ),
        ),
    ),
)
