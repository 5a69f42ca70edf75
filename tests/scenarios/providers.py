"""What providers do otherwise than OpenAI, whose key goes where, and who finds that out."""

from scenarios.scenario import Mutation, Scenario

_CONFORMANCE = "test_conformance.py::"
_ARRIVES = _CONFORMANCE + "test_a_file_arrives_by_what_the_provider_has_signed_as_it_wants"
_LOST = _CONFORMANCE + "test_a_file_whose_answer_is_lost_is_found_and_not_made_twice"
_PROFILE = "test_profile.py::"
_PROBE = "test_probe.py::"
_DOCTOR = "test_doctor.py::"

SCENARIOS = (
    Scenario(
        what="a wish that a provider is known not to grant, such as when a File expires",
        holds="refused in its name before anything is sent, on every route",
        tests=("test_conformance.py", "test_files.py"),
        mutations=(
            Mutation(
                takes_out="a job never asks for it",
                module="intake.py",
                was="    permitted(content, endpoint.provider)\n",
                becomes="",
                test=_CONFORMANCE + "test_no_expiry_is_asked_of_those_who_take_none[dashscope]",
            ),
            Mutation(
                takes_out="content that is handed over never asks for it",
                module="files/handed.py",
                was="    permitted(content, provider)\n",
                becomes="",
                test="test_files.py::test_what_a_provider_is_known_not_to_take_is_refused",
            ),
        ),
    ),
    Scenario(
        what="Azure: a key in `api-key`, a version on every request, tokens, variables of its own",
        holds="sent as it wants them, and nowhere else; what is missing is called by its name",
        tests=("test_conformance.py", "test_config.py", "test_profiles_cli.py"),
        mutations=(
            Mutation(
                takes_out="the key is in the header that the provider reads",
                module="endpoint.py",
                was="if self.auth is Auth.API_KEY:",
                becomes="if False:",
                test=_ARRIVES + "[azure]",
            ),
            Mutation(
                takes_out="every URL has its version",
                module="endpoint.py",
                was="        if self.query:\n",
                becomes="        if False:\n",
                test=_ARRIVES + "[azure]",
            ),
        ),
    ),
    Scenario(
        what="a provider's own ways: pages by number, answers in a wrapper, Files without a"
        " purpose, other words for size and time",
        holds="every list is whole, and a lost File is found by what is said of it",
        tests=("test_conformance.py", "test_files.py", "test_search.py"),
        mutations=(
            Mutation(
                takes_out="pages are counted where they have numbers",
                module="search.py",
                was="self.job.purpose, after, page=number)",
                becomes="self.job.purpose, after)",
                test=_LOST + "[mistral]",
            ),
            Mutation(
                takes_out="an answer is looked for in its wrapper",
                module="answers.py",
                was='return inner if isinstance(inner, Mapping) and "id" not in found else found',
                becomes="return found",
                test=_LOST + "[siliconflow]",
            ),
            Mutation(
                takes_out="a File without a purpose may be ours",
                module="search.py",
                was='{self.job.purpose} if self.api.provider.labels else {self.job.purpose, ""}',
                becomes="{self.job.purpose}",
                test=_LOST + "[openrouter]",
            ),
        ),
    ),
    Scenario(
        what="a provider where the parts' order is the order in which they arrived",
        holds="one part after another there, side by side everywhere else",
        tests=("test_conformance.py",),
        mutations=(
            Mutation(
                takes_out="parts keep their order on the way",
                module="engine.py",
                was="workers = 1 if self.endpoint.provider.ordered else options.workers",
                becomes="workers = options.workers",
                test=_CONFORMANCE
                + "test_where_arrival_is_the_order_parts_go_one_after_another[stdapi]",
            ),
        ),
    ),
    Scenario(
        what="a profile, a preset or an SDK client of another place than the `OPENAI_` variables",
        holds="it gets none of them, no key, header or certificate; the network stays the same",
        tests=("test_trust.py", "test_proxies.py", "test_endpoint.py", "test_variables.py"),
        mutations=(
            Mutation(
                takes_out="what is meant for one origin goes to no other",
                module="endpoint.py",
                was="return environ if origin == theirs else _without_openai(environ)",
                becomes="return environ",
                test="test_endpoint.py::test_the_environments_secrets_are_for_one_origin",
            ),
            Mutation(
                takes_out="a client that signs is shown no certificate of the variables",
                module="endpoint.py",
                was="signer.base_url, True, _without_openai(environ)",
                becomes="signer.base_url, True, environ",
                test="test_trust.py::test_who_signs_elsewhere_is_reached_over_the_same_network",
            ),
            Mutation(
                takes_out="a command's profile gets nothing of another place",
                module="cli/destination.py",
                was='        found["environ"] = theirs\n',
                becomes="",
                test="test_variables.py::"
                "test_a_profile_that_goes_elsewhere_gets_nothing_of_the_environments",
            ),
            Mutation(
                takes_out="a command's profile is on the same machine",
                module="cli/destination.py",
                was='found["environ"] = theirs',
                becomes='found["environ"] = {}',
                test="test_variables.py::"
                "test_a_profile_that_goes_elsewhere_gets_nothing_of_the_environments",
            ),
        ),
    ),
    Scenario(
        what="a profile with a preset, at an address of its own; a host that looks like another",
        holds="a preset's key goes to the preset's address, and a host is what its whole name says",
        tests=("test_profile.py", "test_providers.py"),
        mutations=(
            Mutation(
                takes_out="a preset's key goes to no other address",
                module="profile/written.py",
                was=" or preset.base_url is None or profile.base_url is not None:",
                becomes=" or preset.base_url is None:",
                test=_PROFILE + "test_a_presets_key_goes_to_no_other_address",
            ),
            Mutation(
                takes_out="a host that ends like another is not that one",
                module="providers/__init__.py",
                was='if name == f".{known}" or (known.startswith(".") and name.endswith(known)):',
                becomes="if name.endswith(known):",
                test="test_providers.py::test_a_provider_is_known_by_its_host",
            ),
        ),
    ),
    Scenario(
        what="`chunkup probe`: errors, lost answers, Ctrl-C, a server that lists others' Files",
        holds="what it made is deleted whatever happened, or named; what it did not make is never"
        " touched",
        tests=("test_probe.py", "test_cli_probe.py"),
        mutations=(
            Mutation(
                takes_out="a File with somebody else's name is not deleted",
                module="probe/bench.py",
                was="if name and self.mark not in name:",
                becomes="if False:",
                test=_PROBE + "test_a_file_with_somebody_elses_name_is_not_touched",
            ),
            Mutation(
                takes_out="a cancelled run puts everything away",
                module="probe/asking.py",
                was="            await outlast(sweep(self.bench, reserve))\n",
                becomes="            pass\n",
                test=_PROBE + "test_cancelled_anywhere_it_leaves_nothing[30]",
            ),
            Mutation(
                takes_out="what is being made is heard of to its end",
                module="probe/bench.py",
                was="return await asyncio.shield(task)",
                becomes="return await task",
                test=_PROBE + "test_cancelled_anywhere_it_leaves_nothing[2]",
            ),
            Mutation(
                takes_out="a File of a lost answer is found by its name",
                module="probe/sweeping.py",
                was="            await _found(bench)\n",
                becomes="            bench.left.lost = 0\n",
                test=_PROBE + "test_nothing_is_left_whichever_request_fails[lost]",
            ),
            Mutation(
                takes_out="a wrong key ends it before anything is made",
                module="probe/asking.py",
                was="if reply.status in {401, 403} or not reply.tells:",
                becomes="if False:",
                test=_PROBE + "test_the_first_request_makes_nothing_and_its_failure_is_the_end",
            ),
        ),
    ),
    Scenario(
        what="`chunkup doctor` beside a running upload, or with its output shown to a stranger",
        holds="it makes and locks nothing, asks for one File's description, and shows no secret,"
        " not even a piece of one",
        tests=("test_doctor.py", "test_doctor_way.py", "test_cli_doctor.py"),
        mutations=(
            Mutation(
                takes_out="the journal is read without a lock",
                module="doctor/disk.py",
                was="&immutable=1",
                becomes="",
                test=_DOCTOR
                + "test_the_journal_is_read_without_a_trace_even_while_another_holds_it",
            ),
            Mutation(
                takes_out="pieces of a secret in a server's words are hidden",
                module="doctor/finding.py",
                was="return not any(piece in secret for piece in pieces for secret in"
                " self._secrets)",
                becomes="return word not in self._secrets",
                test=_DOCTOR + "test_what_an_answer_means",
            ),
            Mutation(
                takes_out="a key with stars in it is hidden whole",
                module="doctor/finding.py",
                was="if _MASKED.search(word):",
                becomes="if False:",
                test=_DOCTOR + "test_a_key_that_a_server_masked_is_masked_whole",
            ),
            Mutation(
                takes_out="a secret where none belongs is hidden",
                module="doctor/finding.py",
                was="text = text.replace(secret, _HIDDEN)",
                becomes="pass",
                test=_DOCTOR + "test_a_secret_that_stands_where_none_belongs_is_not_shown_either",
            ),
        ),
    ),
)
