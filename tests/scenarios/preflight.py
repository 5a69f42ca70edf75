"""A file before anything of it is sent: read once, compared exactly, mended without a loss."""

from scenarios.scenario import Mutation, Scenario

SEEN = "test_preflight_seen.py::"
READING = "test_preflight_reading.py::"
SURVEY = "test_preflight.py::"
MENDING = "test_preflight_mending.py::"

SCENARIOS = (
    Scenario(
        what="twenty million `custom_id`s with duplicates far apart; one and the same, millions of "
        "times",
        holds="each duplicate is told with both lines, exactly, in memory that does not grow; "
        "where the folder for temporary files is full, one sentence names it",
        tests=("test_preflight_seen.py", "test_preflight_memory.py"),
        mutations=(
            Mutation(
                takes_out="ids from before the file was needed are compared too",
                module="preflight/seen.py",
                was="[(key, line, 0) for key, line in self._firsts.items()]",
                becomes="[]",
                test=SEEN + "test_every_further_line_of_an_id_is_told_with_the_first",
            ),
            Mutation(
                takes_out="a share of too many ids is read in several readings",
                module="preflight/seen.py",
                was="elif len(firsts) > self._most and bits < BITS:",
                becomes="elif False:",
                test=SEEN + "test_a_share_of_too_many_ids_is_not_held_all_at_once",
            ),
            Mutation(
                takes_out="of several readings each tells only what no other has told",
                module="preflight/seen.py",
                was="max(told, position + 1)",
                becomes="position + 1",
                test=SEEN + "test_every_further_line_of_an_id_is_told_with_the_first",
            ),
            Mutation(
                takes_out="a long id takes no more room than a digest",
                module="preflight/seen.py",
                was="if len(content) <= _LONG and _is_text(content):",
                becomes="if len(content[:_LONG]) <= _LONG and _is_text(content):",
                test=SEEN + "test_an_id_is_never_taken_for_the_digest_of_another",
            ),
            Mutation(
                takes_out="the temporary file has no name that could be left behind",
                module="preflight/spill.py",
                was="            os.unlink(name)",
                becomes="            os.stat(name)",
                test=SEEN + "test_its_file_has_no_name_and_is_gone_with_it",
            ),
        ),
    ),
    Scenario(
        what="a file that changes, vanishes, turns into a pipe or never ends its line while it is "
        "checked; a stop meanwhile",
        holds="what changed is not sent; no line is held that no File could hold; a stop takes one "
        "read, and leaves no thread and no open file",
        tests=("test_preflight_reading.py", "test_preflight.py"),
        mutations=(
            Mutation(
                takes_out="the file is looked at again after the last read",
                module="preflight/reading.py",
                was="halt, read_size, longest)\n"
                "        see_unchanged(path, fingerprint, handle.fileno())\n",
                becomes="halt, read_size, longest)\n",
                test=READING + "test_equal_content_written_again_meanwhile_is_another_file",
            ),
            Mutation(
                takes_out="a line that is too long is measured and not held",
                module="preflight/reading.py",
                was="        if end and held > longest:",
                becomes="        if False:",
                test=READING + "test_a_line_that_is_too_long_is_measured_and_not_held",
            ),
            Mutation(
                takes_out="what is written behind the end meanwhile is not followed",
                module="preflight/reading.py",
                was="handle.read(min(read_size, size - reached))",
                becomes="handle.read(read_size)",
                test=READING + "test_what_is_written_behind_the_end_meanwhile_is_not_read",
            ),
            Mutation(
                takes_out="a stop is looked for at every read",
                module="preflight/reading.py",
                was="        halt()\n",
                becomes="",
                test=READING + "test_it_stops_within_one_read",
            ),
        ),
    ),
    Scenario(
        what="`--fix` of a file with a byte order mark, CR LF, blank lines, missing or duplicate "
        "`custom_id`s, and with what only a person can mend",
        holds="a new file in which every other byte is the same, never over another one, whole or "
        "not at all; new ids are nobody else's, and a mapping says whose they were",
        tests=("test_preflight_mending.py",),
        mutations=(
            Mutation(
                takes_out="a new id is no other line's",
                module="preflight/mending.py",
                was="if not suffix and after",
                becomes="if False and after",
                test=MENDING + "test_an_id_that_another_line_has_already_is_no_new_one",
            ),
            Mutation(
                takes_out="only the id of the line itself is changed",
                module="preflight/mending.py",
                was="        if _members(made) == wanted:",
                becomes="        if _members(made):",
                test=MENDING + "test_only_the_id_of_the_line_itself_is_changed",
            ),
            Mutation(
                takes_out="a file that came to be there meanwhile is not written over",
                module="preflight/fresh.py",
                was="            hidden.name(Path(self.path), self._target)",
                becomes="            os.replace(self.path, self._target)",
                test=MENDING + "test_a_name_that_is_taken_meanwhile_stays_what_it_is",
            ),
            Mutation(
                takes_out="a mapping without its file is taken away again",
                module="preflight/mending.py",
                was="        ids.withdraw()\n",
                becomes="",
                test=MENDING + "test_a_name_that_is_taken_meanwhile_stays_what_it_is[b.jsonl]",
            ),
        ),
    ),
)
