"""What is found in a file of records, and where it is cut."""

from scenarios.scenario import Mutation, Scenario

_RULES = "test_records.py::"
_CUTS = "test_records_cutter.py::"
_FORM = _RULES + "test_of_an_evaluation_only_the_form_is_judged"

SCENARIOS = (
    Scenario(
        what="one line among millions that is not UTF-8, not JSON or no object, has half a "
        "character, another url or model, or nests too deep",
        holds="it is found at its line, in the server's words, and nothing else is; what only "
        "somebody else refuses is a warning",
        tests=("test_records.py", "test_records_real.py"),
        mutations=(
            Mutation(
                takes_out="text that the decoder skips is UTF-8 as well",
                module="records/lines.py",
                was="        utf8 = _is_utf8(self.data)\n",
                becomes="        utf8 = True\n",
                test=_FORM + "[0-invalid_utf8]",
            ),
            Mutation(
                takes_out="what only Python takes is not JSON",
                module="records/lines.py",
                was="parse_constant=_no_constant",
                becomes="parse_constant=float",
                test=_FORM + "[10-invalid_json_line]",
            ),
            Mutation(
                takes_out="a number may have any length",
                module="records/lines.py",
                was=", parse_int=float)",
                becomes=")",
                test=_RULES + "test_a_number_of_any_size_is_one",
            ),
            Mutation(
                takes_out="a line that nests too deep is passed over",
                module="records/lines.py",
                was="(msgspec.MsgspecError, UnicodeDecodeError, RecursionError)",
                becomes="(msgspec.MsgspecError, UnicodeDecodeError)",
                test=_FORM + "[21-deep_nesting]",
            ),
            Mutation(
                takes_out="half a character is told",
                module="records/lines.py",
                was='if r"\\u" in text and _half(value):',
                becomes='if r"\\u" in text and not value:',
                test=_FORM + "[19-lone_surrogate]",
            ),
            Mutation(
                takes_out="what a file says is made printable",
                module="records/finding.py",
                was="printable(value, 60)",
                becomes="value",
                test=_RULES + "test_what_a_file_says_is_made_printable_and_short",
            ),
            Mutation(
                takes_out="all lines have one url",
                module="records/batch.py",
                was="row.url == url and row.body.model == model",
                becomes="row.body.model == model",
                test=_RULES
                + "test_two_urls_or_two_models_are_refused_everywhere_but_where_lines_name_none",
            ),
            Mutation(
                takes_out="all lines have one model",
                module="records/batch.py",
                was="row.url == url and row.body.model == model",
                becomes="row.url == url",
                test=_RULES
                + "test_two_urls_or_two_models_are_refused_everywhere_but_where_lines_name_none",
            ),
            Mutation(
                takes_out="an empty id is told",
                module="records/batch.py",
                was="                and row.custom_id\n",
                becomes="",
                test=_RULES + "test_an_empty_id_is_only_worth_a_look",
            ),
            Mutation(
                takes_out="what is only unknown is no error",
                module="records/batch.py",
                was="        return bool(self._provider.endpoints)\n",
                becomes="        return True\n",
                test=_RULES + "test_what_the_official_api_refuses_may_be_right_elsewhere",
            ),
            Mutation(
                takes_out="a byte order mark is found, and hides nothing",
                module="records/check.py",
                was="            block = Block(block.data[len(_MARK) :], 1, len(_MARK))\n",
                becomes="",
                test=_RULES + "test_a_mark_at_the_beginning_is_an_error_and_hides_nothing_else",
            ),
            Mutation(
                takes_out="carriage returns are told once and not of every line",
                module="records/check.py",
                was="if not self._crlf and ",
                becomes="if ",
                test=_RULES + "test_carriage_returns_are_told_once",
            ),
            Mutation(
                takes_out="one format is not mixed with another",
                module="records/finetune.py",
                was="if kind is not None and kind != self._format:",
                becomes="if kind is None:",
                test=_RULES + "test_an_example_of_another_format_is_an_error",
            ),
        ),
    ),
    Scenario(
        what="more requests or embeddings than one file may ask for",
        holds="told at the first line that is too much; `--split` cuts between records, by every "
        "limit, and the same way however the file is read",
        tests=("test_records_cutter.py", "test_records.py", "test_records_real.py"),
        mutations=(
            Mutation(
                takes_out="too many requests are told, once",
                module="records/check.py",
                was="        if self.records - 1 != self._most:\n",
                becomes="        if self.records <= self._most:\n",
                test=_RULES + "test_too_many_requests_are_said_once_at_the_first_that_is_too_much"
                "[False]",
            ),
            Mutation(
                takes_out="what lists ask for is counted",
                module="records/batch.py",
                was="        return len(items)\n",
                becomes="        return 1\n",
                test=_RULES + "test_inputs_of_lines_that_are_only_unusual_count_as_well",
            ),
            Mutation(
                takes_out="lines that are only unusual are counted as well",
                module="records/batch.py",
                was="_count(_input(line) if row is None else row.body.input)",
                becomes="0 if row is None else _count(row.body.input)",
                test=_RULES + "test_inputs_of_lines_that_are_only_unusual_count_as_well",
            ),
            Mutation(
                takes_out="a piece has at most so many records",
                module="records/cutter.py",
                was="            or self._count + 1 > self._records\n",
                becomes="",
                test=_CUTS + "test_the_provider_has_the_last_word",
            ),
            Mutation(
                takes_out="a piece has at most so many bytes",
                module="records/cutter.py",
                was="            end - self._start > self._size\n            or ",
                becomes="            ",
                test=_CUTS + "test_the_provider_has_the_last_word",
            ),
            Mutation(
                takes_out="a piece asks for at most so many inputs",
                module="records/cutter.py",
                was="            or self._asked + asked > self._inputs\n",
                becomes="",
                test=_CUTS + "test_a_piece_asks_for_at_most_so_many_inputs",
            ),
            Mutation(
                takes_out="a block that is too large for the piece is looked at line by line",
                module="records/cutter.py",
                was="            and end - self._start <= self._size\n",
                becomes="",
                test=_CUTS + "test_one_block_may_be_more_than_one_piece",
            ),
            Mutation(
                takes_out="a block with too many records is looked at line by line",
                module="records/cutter.py",
                was="            and self._count + 1 + block.count <= self._records\n",
                becomes="",
                test=_CUTS + "test_one_block_may_be_more_than_one_piece",
            ),
            Mutation(
                takes_out="no piece is made of blank lines alone",
                module="records/cutter.py",
                was="            if line.strip(BLANK):\n",
                becomes="            if line is not None:\n",
                test=_RULES + "test_without_a_check_only_cuts_are_made",
            ),
            Mutation(
                takes_out="blank lines before the first record are in its piece",
                module="records/cutter.py",
                was="(self._start, line, asked) if first else (at, line, asked)",
                becomes="(at, line, asked)",
                test=_CUTS + "test_blank_lines_before_the_first_record_are_in_its_piece",
            ),
            Mutation(
                takes_out="blank lines alone that are too much are told",
                module="records/cutter.py",
                was="            self._open = (self._start, self._line, 0)  # nothing but",
                becomes="            pass  # nothing but",
                test=_CUTS + "test_a_file_of_blank_lines_is_one_piece_and_told_if_it_is_too_large",
            ),
            Mutation(
                takes_out="a record that no cut makes small enough is named",
                module="records/cutter.py",
                was="        if end - at > self._size:\n",
                becomes="        if end < at:\n",
                test=_CUTS + "test_a_record_that_no_cut_makes_small_enough_is_named",
            ),
            Mutation(
                takes_out="a wish is no way around the provider's limit",
                module="records/check.py",
                was="_least(split.lines, most)",
                becomes="split.lines or most",
                test=_CUTS + "test_the_provider_has_the_last_word",
            ),
        ),
    ),
)
