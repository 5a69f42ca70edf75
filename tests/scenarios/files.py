"""The Files API: downloads, lists, deletions, and content that a program hands over itself."""

from scenarios.scenario import Mutation, Scenario

_DOWNLOAD = "test_download.py::"
_FILES = "test_files.py::"
_CLI = "test_cli_files.py::"
_PROCESSING = "test_processing.py::"

SCENARIOS = (
    Scenario(
        what="a download to a path where something is, or comes to be meanwhile",
        holds="never over it unless `--overwrite` says so; it gets its name whole, in one step",
        tests=("test_download.py",),
        mutations=(
            Mutation(
                takes_out="what appears meanwhile is not replaced",
                module="hidden.py",
                was="        os.link(path, target)\n",
                becomes="        path.replace(target)\n",
                test=_DOWNLOAD + "test_what_appears_meanwhile_is_not_overwritten_either[False]",
            ),
            Mutation(
                takes_out="nor where there are no hard links",
                module="hidden.py",
                was="os.O_CREAT | os.O_EXCL |",
                becomes="os.O_CREAT |",
                test=_DOWNLOAD + "test_without_hard_links_it_gets_its_name_all_the_same",
            ),
            Mutation(
                takes_out="a name that could not be given is no empty file",
                module="hidden.py",
                was="            target.unlink(missing_ok=True)\n            raise\n",
                becomes="            raise\n",
                test="test_hidden.py::test_a_name_that_cannot_be_given_is_nobodys[no links]",
            ),
        ),
    ),
    Scenario(
        what="ids and names of a server that would be paths, hidden files or flags",
        holds="what a server calls a File never becomes a path; a plain id does, or a person's"
        " own word",
        tests=("test_cli_files.py", "test_files.py"),
        mutations=(
            Mutation(
                takes_out="an id that is no plain name is no file's",
                module="cli/files.py",
                was="if _PLAIN.fullmatch(file_id):",
                becomes="if True:",
                test=_CLI + "test_an_id_that_is_no_plain_name_is_no_file_name",
            ),
        ),
    ),
    Scenario(
        what="a download that breaks off or is stopped; a File that changes meanwhile",
        holds="it goes on at the right byte where the server can, and every byte is counted;"
        " other content starts over or is no File",
        tests=("test_download.py", "test_cli_files.py"),
        mutations=(
            Mutation(
                takes_out="what is here already is not asked for again",
                module="files/download.py",
                was="start = max(0, landing.held - _OVERLAP)",
                becomes="start = 0",
                test=_DOWNLOAD + "test_the_same_call_later_goes_on_and_proves_what_is_there",
            ),
            Mutation(
                takes_out="what is here already is proved",
                module="files/download.py",
                was="if here and os.pread(self._fd, here, at) != block[:here]:",
                becomes="if False:",
                test=_DOWNLOAD
                + "test_what_lies_there_and_is_of_other_content_is_not_used[changed]",
            ),
            Mutation(
                takes_out="a part of another place is not used",
                module="api.py",
                was="first != str(start)",
                becomes="not first",
                test=_DOWNLOAD + "test_a_range_that_does_not_fit_is_not_used",
            ),
            Mutation(
                takes_out="an end that comes too early is none",
                module="files/fetching.py",
                was="if size is None or at == size:",
                becomes="if True:",
                test=_DOWNLOAD + "test_content_of_another_length_is_no_file[ends early and well]",
            ),
        ),
    ),
    Scenario(
        what="a link, a pipe or somebody else's file where a download keeps what it has; two"
        " downloads at once",
        holds="neither followed nor used, what comes is private; the second one is told that it"
        " is busy",
        tests=("test_download.py",),
        mutations=(
            Mutation(
                takes_out="a link is put away, and nothing goes where it leads",
                module="hidden.py",
                was="if error.errno != errno.ELOOP:",
                becomes="if True:",
                test=_DOWNLOAD
                + "test_what_somebody_laid_in_the_way_is_neither_followed_nor_used[link]",
            ),
            Mutation(
                takes_out="what others can read or write is not used",
                module="hidden.py",
                was="if not _is_ours(found):",
                becomes="if False:",
                test=_DOWNLOAD
                + "test_what_somebody_laid_in_the_way_is_neither_followed_nor_used[open to others]",
            ),
            Mutation(
                takes_out="it belongs to one process at a time",
                module="hidden.py",
                was="                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
                becomes="                fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)\n",
                test=_DOWNLOAD + "test_two_that_want_the_same_are_one_and_one_busy",
            ),
        ),
    ),
    Scenario(
        what="a list that ignores `after` or the purpose, repeats a page, or has no end",
        holds="each File once, of the purpose that was asked for; a page with nothing new is the"
        " last, and said to be",
        tests=("test_files.py", "test_search_listings.py"),
        mutations=(
            Mutation(
                takes_out="a page that brings nothing new is the last",
                module="files/stored.py",
                was="            if not new:\n                return\n",
                becomes="            if not new and number > 1:\n                return\n",
                test=_FILES + "test_a_server_that_ignores_what_it_is_asked_is_survived",
            ),
            Mutation(
                takes_out="what is of another purpose is left away",
                module="files/stored.py",
                was='file.purpose in {"", purpose}',
                becomes="file.id",
                test=_FILES + "test_a_server_that_ignores_what_it_is_asked_is_survived",
            ),
            Mutation(
                takes_out="new Files for ever are given up",
                module="files/stored.py",
                was="if len(seen) > _ENDLESS:",
                becomes="if len(seen) > 100 * _ENDLESS:",
                test=_FILES + "test_a_list_without_an_end_is_given_up",
            ),
        ),
    ),
    Scenario(
        what="bytes or a file object in one request, cut on the way, or with a lost answer",
        holds="cut, no File can have come of it, and it is sent again; else it is looked for, and"
        " no other content is sent for it",
        tests=("test_files.py",),
        mutations=(
            Mutation(
                takes_out="what is sent once more is what was sent before",
                module="files/handed.py",
                was="if self._digest not in {None, digest}:",
                becomes="if False:",
                test=_FILES + "test_a_file_object_that_changes_between_attempts_makes_nothing_more",
            ),
            Mutation(
                takes_out="a stream without an end does not fill the disk",
                module="files/handed.py",
                was="if most is not None and size > most:",
                becomes="if False:",
                test=_FILES + "test_too_much_and_nothing_are_refused_before_anything_is_sent",
            ),
        ),
    ),
    Scenario(
        what="`files delete`: by mistake, with nobody to ask, or with a lost answer",
        holds="asks first, or refuses without `--yes`; a 404 to the second ask is a File that is"
        " gone",
        tests=("test_cli_files.py", "test_files.py"),
        mutations=(
            Mutation(
                takes_out="a person is asked",
                module="cli/files.py",
                was="if not yes and not _agreed(ids, errands):",
                becomes="if False:",
                test=_CLI + "test_delete_asks_and_without_anybody_to_ask_it_refuses",
            ),
            Mutation(
                takes_out="a deletion whose answer was lost is done",
                module="files/stored.py",
                was="                if lost:\n",
                becomes="                if False:\n",
                test=_FILES + "test_a_file_is_deleted_once_even_if_the_answer_is_lost",
            ),
        ),
    ),
    Scenario(
        what="a new File that is 404 for a moment, has no size yet, or is never processed",
        holds="`--wait` waits for it, for a minute at most if nobody knows it; what cannot be"
        " processed fails in the server's words",
        tests=("test_processing.py", "test_cli_wait.py"),
        mutations=(
            Mutation(
                takes_out="a fresh 404 is waited for",
                module="processing.py",
                was="if found is not None or time.monotonic() - since > _FRESH:",
                becomes="if True:",
                test=_PROCESSING + "test_a_file_that_is_not_known_yet_is_waited_for",
            ),
            Mutation(
                takes_out="a File that was there and is gone is not waited for",
                module="processing.py",
                was="if found is not None or time.monotonic()",
                becomes="if time.monotonic()",
                test=_PROCESSING + "test_a_file_that_was_known_and_is_gone_is_gone",
            ),
        ),
    ),
)
