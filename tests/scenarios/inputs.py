"""What is uploaded: folders as they are, lists, and what comes from a pipe."""

from scenarios.scenario import Mutation, Scenario

_GATHER = "test_gather.py::"
_LISTS = "test_gather_lists.py::"
_SPOOL = "test_spool.py::"

SCENARIOS = (
    Scenario(
        what="a folder with loops, hidden and empty files, pipes, links to nowhere, names that are "
        "no text; one that changes while it is looked through",
        holds="what is left out is counted and said, what cannot be looked at is refused by name "
        "before anything is sent; no link leads into another folder",
        tests=("test_gather.py", "test_gather_patterns.py"),
        mutations=(
            Mutation(
                takes_out="a linked folder is not entered",
                module="gather.py",
                was="entry.is_dir(follow_symlinks=False)",
                becomes="entry.is_dir()",
                test=_GATHER + "test_a_link_to_a_file_is_followed_and_one_to_a_folder_is_not",
            ),
            Mutation(
                takes_out="a link to nowhere is not left out unsaid",
                module="gather.py",
                was="raise (_leads_nowhere if link else _vanished)(entry.path, error) from error",
                becomes="return False",
                test=_GATHER + "test_a_link_that_leads_nowhere_is_refused_by_name[nowhere]",
            ),
            Mutation(
                takes_out="a folder that vanished is not an empty one",
                module="gather.py",
                was="    except OSError as error:\n"
                "        raise _vanished(folder, error) from error",
                becomes="    except OSError:\n        return iter(())",
                test=_GATHER + "test_what_vanishes_meanwhile_is_refused_by_name[folder]",
            ),
            Mutation(
                takes_out="hidden files stay at home",
                module="gather.py",
                was='if entry.name.startswith("."):',
                becomes="if False:",
                test=_GATHER + "test_hidden_ones_are_left_out_and_counted",
            ),
        ),
    ),
    Scenario(
        what="a list of ten thousand paths, one of them wrong",
        holds="nothing is sent; the error names the line",
        tests=("test_gather_lists.py", "test_cli_inputs.py"),
        mutations=(
            Mutation(
                takes_out="what is on a list is looked at",
                module="gather.py",
                was="            _see(path, recursive=recursive)\n",
                becomes="            pass\n",
                test=_LISTS + "test_a_missing_file_is_refused_with_its_place_on_the_list",
            ),
        ),
    ),
    Scenario(
        what="standard input that never ends, is empty, a terminal, or more than the disk takes; "
        "a stop while it is read",
        holds="one sentence, no job, and no file of it stays",
        tests=("test_spool.py", "test_spool_upload.py", "test_cli_inputs.py"),
        mutations=(
            Mutation(
                takes_out="half of it is not kept",
                module="spool.py",
                was="            self.discard(path)\n            if isinstance(error, OSError):",
                becomes="            if isinstance(error, OSError):",
                test=_SPOOL + "test_cancelled_while_nothing_comes_it_leaves_nothing",
            ),
            Mutation(
                takes_out="nobody waits for a person to type a dataset",
                module="spool.py",
                was="if os.isatty(descriptor):",
                becomes="if False:",
                test=_SPOOL + "test_a_terminal_is_refused_at_once",
            ),
        ),
    ),
    Scenario(
        what="an upload of standard input that is killed; another one beside it",
        holds="`resume` goes on from what is kept beside the journal, for this user only; it goes "
        "when its last piece is sent, or with the next one if no job is left of it",
        tests=("test_spool_upload.py", "test_spool.py"),
        mutations=(
            Mutation(
                takes_out="what a job still needs is not swept away",
                module="spool.py",
                was="if path not in needed and is_at",
                becomes="if is_at",
                test=_SPOOL + "test_sweeping_takes_what_no_job_refers_to_and_nobody_holds",
            ),
            Mutation(
                takes_out="what is still being written is not swept away",
                module="spool.py",
                was="                    flock(handle, LOCK_EX)\n",
                becomes="",
                test=_SPOOL + "test_what_a_killed_process_left_is_swept_and_not_before",
            ),
            Mutation(
                takes_out="only what is kept there is ever removed",
                module="spool.py",
                was="folder == str(self._folder) and _NAME",
                becomes="_NAME",
                test=_SPOOL + "test_what_is_none_of_ours_is_never_discarded",
            ),
            Mutation(
                takes_out="nobody else may read it",
                module="spool.py",
                was="os.O_CREAT | os.O_EXCL, 0o600",
                becomes="os.O_CREAT | os.O_EXCL, 0o644",
                test=_SPOOL + "test_all_of_it_is_there_for_this_user_only",
            ),
        ),
    ),
)
