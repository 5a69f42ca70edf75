"""What a person is told of a file that the server would not take."""

from scenarios.scenario import Mutation, Scenario

_CHECK = "test_cli_check.py::"
_ADVICE = "test_advice.py::"

SCENARIOS = (
    Scenario(
        what="a dataset in which the server would refuse a line, an hour after the upload",
        holds="`check` names the line and the byte, and mends into a new file what can be mended; "
        "nothing is sent, and nothing is ever overwritten",
        tests=("test_cli_check.py",),
        mutations=(
            Mutation(
                takes_out="what is there already is found before anything is read",
                module="cli/check.py",
                was="            _see_free(*self._places(path))\n",
                becomes="            pass\n",
                test=_CHECK + "test_fix_never_writes_over_anything",
            ),
            Mutation(
                takes_out="what cannot be uploaded is not printed as if it could",
                module="cli/check.py",
                was="        else:\n            self._told.fit(path)",
                becomes="        self._told.fit(path)",
                test=_CHECK + "test_what_only_a_person_can_mend_stays_and_is_found_in_the_new_file",
            ),
            Mutation(
                takes_out="what is a terminal's own is written out in names",
                module="cli/checked.py",
                was="        name = printable(path, 4096)\n        for",
                becomes="        name = path\n        for",
                test=_CHECK + "test_what_a_file_or_its_name_says_reaches_no_terminal_as_it_is",
            ),
            Mutation(
                takes_out="an address with a password in it is in no hint",
                module="cli/check.py",
                was="        address(url)\n",
                becomes="        pass\n",
                test=_CHECK + "test_a_base_url_that_is_none_is_refused_and_not_repeated",
            ),
        ),
    ),
    Scenario(
        what="a file of records that is above what the provider takes, in bytes or in lines",
        holds="refused at once, with the whole command that cuts it between records",
        tests=(
            _ADVICE + "test_bad_content_is_mended_or_cut_where_that_cures_all_of_it",
            _CHECK + "test_the_hints_of_upload_lead_to_the_files",
        ),
        mutations=(
            Mutation(
                takes_out="the options of what was refused are in the hint",
                module="cli/advice.py",
                was="(BadContent, BadOption, NoSuchJob, OutcomeUnknown, TooLarge)",
                becomes="(BadContent, BadOption, NoSuchJob, OutcomeUnknown)",
                test=_ADVICE
                + "test_what_was_refused_before_there_was_a_job_is_cut_with_all_its_options",
            ),
            Mutation(
                takes_out="what has to be mended is mended before it is cut",
                module="cli/advice.py",
                was='    return "fix" if rest else "split"',
                becomes='    return "split"',
                test=_ADVICE + "test_bad_content_is_mended_or_cut_where_that_cures_all_of_it",
            ),
            Mutation(
                takes_out="only what has records is cut between them",
                module="planner.py",
                was="if not is_jsonl(path)",
                becomes="if False",
                test="test_planner.py::test_how_to_cut_anything_else_only_its_owner_knows",
            ),
        ),
    ),
)
