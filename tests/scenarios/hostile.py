"""Servers that mean harm, and addresses that are not what they look like."""

from scenarios.scenario import Mutation, Scenario

SCENARIOS = (
    Scenario(
        what="answers of gigabytes, headers without end, compressed bombs, pages without end",
        holds="read up to a bound; what is refused is still judged by its status",
        tests=("test_wire_hostile.py", "test_answers.py"),
        mutations=(
            Mutation(
                takes_out="a success is read up to a bound",
                module="foreign.py",
                was="if len(found) > most and success:",
                becomes="if len(found) > most << 20 and success:",
                test="test_answers.py::"
                "test_an_answer_that_never_ends_is_cut[announced-200-ServerTrouble-create]",
            ),
            Mutation(
                takes_out="of a refusal only the beginning is read",
                module="foreign.py",
                was="if len(found) > _EXCUSE and not success:",
                becomes="if len(found) > _EXCUSE << 20 and not success:",
                test="test_answers.py::"
                "test_an_answer_that_never_ends_is_cut[announced-401-Unauthorized-create]",
            ),
            Mutation(
                takes_out="a listing without end is left",
                module="search.py",
                was="if len(files) > _FILES:",
                becomes="if len(files) > 2 * _FILES:",
                test="test_wire_hostile.py::test_pages_without_end_are_read_only_so_far",
            ),
        ),
    ),
    Scenario(
        what="an answer that drips a byte at a time for ever, and endless 1xx answers",
        holds="given up in bounded time; a refusal is judged by its status",
        tests=("test_wire_hostile.py", "test_watching.py"),
        mutations=(
            Mutation(
                takes_out="a small call has an end",
                module="transport.py",
                was="aiohttp.ClientTimeout(total=_CALL,",
                becomes="aiohttp.ClientTimeout(total=None,",
                test="test_wire_hostile.py::test_an_answer_that_drips_for_ever_is_given_up[a body]",
            ),
            Mutation(
                takes_out="nobody waits for the rest of a refusal",
                module="foreign.py",
                was="None if success else _EXCUSE_TIME",
                becomes="None",
                test="test_wire_hostile.py::"
                "test_a_refusal_whose_body_drips_is_judged_by_its_status[create]",
            ),
        ),
    ),
    Scenario(
        what="redirects to another host, cookies",
        holds="not followed, not kept: the key goes to the base URL and nowhere else",
        tests=("test_api.py",),
        mutations=(
            Mutation(
                takes_out="a redirect is not followed",
                module="transport.py",
                was="allow_redirects=False",
                becomes="allow_redirects=True",
                test="test_api.py::test_a_redirect_is_an_error_and_the_key_stays_here[307-create]",
            ),
            Mutation(
                takes_out="cookies are not kept",
                module="transport.py",
                was="cookie_jar=aiohttp.DummyCookieJar()",
                becomes="cookie_jar=aiohttp.CookieJar(unsafe=True)",
                test="test_api.py::test_cookies_are_never_kept[create]",
            ),
        ),
    ),
    Scenario(
        what="ids and texts with slashes, dots, line ends, escapes, turned writing, a megabyte",
        holds="an id stays one segment of a path or is refused; texts are escaped and cut",
        tests=("test_wire_hostile.py", "test_answers.py", "test_api.py", "test_text.py"),
        mutations=(
            Mutation(
                takes_out="an id that cannot be shown is none",
                module="answers.py",
                was=" or not value.isprintable()",
                becomes="",
                test="test_answers.py::test_an_answer_without_a_usable_id_is_no_success",
            ),
            Mutation(
                takes_out="a text beyond all measure is none",
                module="answers.py",
                was=" and len(value) <= _LONGEST",
                becomes="",
                test="test_answers.py::test_a_text_beyond_all_measure_is_unknown",
            ),
            Mutation(
                takes_out="an id is one segment of a path",
                module="answers.py",
                was='return quote(text, safe="")',
                becomes="return quote(text)",
                test="test_api.py::test_an_id_stays_one_segment_of_the_path",
            ),
            Mutation(
                takes_out="a path is not climbed",
                module="answers.py",
                was='text in {"", ".", ".."}',
                becomes='text == ""',
                test="test_api.py::"
                "test_an_id_that_cannot_stand_in_a_path_is_refused_and_nothing_is_sent",
            ),
            Mutation(
                takes_out="what a server says is escaped",
                module="text.py",
                was="char if char.isprintable() else",
                becomes="char if char else",
                test="test_wire_hostile.py::"
                "test_nothing_that_a_server_says_reaches_the_terminal_as_it_is[part-refuse]",
            ),
        ),
    ),
    Scenario(
        what="a base URL that hides a host, a line end, a user name",
        holds="refused before anything is sent, with one sentence",
        tests=("test_endpoint.py",),
        mutations=(
            Mutation(
                takes_out="a host has the letters of a host",
                module="endpoint.py",
                was="return _HOST.fullmatch(host) is not None",
                becomes="return bool(host)",
                test="test_endpoint.py::test_what_is_no_http_address_is_refused",
            ),
            Mutation(
                takes_out="what nobody sees is not dropped from an address",
                module="endpoint.py",
                was='text.isprintable() and " " not in text and ',
                becomes="",
                test="test_endpoint.py::test_what_is_no_http_address_is_refused",
            ),
            Mutation(
                takes_out="an address carries no user name",
                module="endpoint.py",
                was='"@" in authority or ',
                becomes="",
                test="test_endpoint.py::test_credentials_in_a_url_are_refused_and_never_shown",
            ),
            Mutation(
                takes_out="an encoded slash in an address stays one",
                module="endpoint.py",
                was='url.raw_path.rstrip("/"), encoded=True',
                becomes='url.path.rstrip("/")',
                test="test_endpoint.py::test_one_address_is_written_in_one_way",
            ),
        ),
    ),
)
