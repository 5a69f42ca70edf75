"""Where to send and as whom: what wins, what is refused, and that no secret shows."""

import asyncio
from collections.abc import Mapping
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire import everything

from chunkup.endpoint import Endpoint, address, merged, resolve, surroundings
from chunkup.errors import BadOption, ChunkupError, NoKey, PlainHttp, Refused
from chunkup.models import Limits
from chunkup.providers import OPENAI

CANARY = "sk-canary-7f3a9c"
ENVIRON = {
    "OPENAI_API_KEY": "sk-environment",
    "OPENAI_BASE_URL": "https://environment.example/v1",
    "OPENAI_ORG_ID": "org-environment",
    "OPENAI_PROJECT_ID": "proj_environment",
    "OPENAI_CUSTOM_HEADERS": "X-One: environment\nX-Two: environment : kept",
}


# --- what wins ------------------------------------------------------------------------------


async def test_arguments_win_over_variables() -> None:
    endpoint = resolve(
        base_url="https://argument.example/v2",
        api_key="sk-argument",
        organization="org-argument",
        project="proj_argument",
        headers={"X-One": "argument"},
        environ=ENVIRON,
    )
    assert endpoint.base_url == "https://argument.example/v2"
    assert (await endpoint.target("GET", ""))[1] == {
        "Authorization": "Bearer sk-argument",
        "OpenAI-Organization": "org-argument",
        "OpenAI-Project": "proj_argument",
        "X-One": "argument",
        "X-Two": "environment : kept",
    }


async def test_variables_win_over_the_providers_own_address() -> None:
    endpoint = resolve(environ=ENVIRON)
    assert endpoint.base_url == "https://environment.example/v1"
    assert (await endpoint.target("GET", ""))[1] == {
        "Authorization": "Bearer sk-environment",
        "OpenAI-Organization": "org-environment",
        "OpenAI-Project": "proj_environment",
        "X-One": "environment",
        "X-Two": "environment : kept",
    }


async def test_without_anything_else_the_address_is_openai_and_only_the_key_is_sent() -> None:
    endpoint = resolve(api_key=CANARY, environ={})
    assert endpoint.base_url == "https://api.openai.com/v1"
    assert (await endpoint.target("GET", ""))[1] == {"Authorization": f"Bearer {CANARY}"}


async def test_empty_variables_count_as_unset() -> None:
    environ = dict.fromkeys(ENVIRON, "") | {"OPENAI_API_KEY": CANARY}
    assert ((await resolve(environ=environ).target("GET", ""))[1]) == {
        "Authorization": f"Bearer {CANARY}"
    }
    assert resolve(environ=environ).base_url == "https://api.openai.com/v1"


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("https://h.example/v1/", "https://h.example/v1"),
        ("https://h.example/v1///", "https://h.example/v1"),
        (" https://h.example/v1\n", "https://h.example/v1"),
        ("HTTPS://H.Example/V1", "https://h.example/V1"),
        ("https://h.example:8443/a/b", "https://h.example:8443/a/b"),
        ("https://h.example", "https://h.example"),
        ("https://h.example/", "https://h.example"),
        ("https://h.example:/v1", "https://h.example/v1"),
        ("https://h.example:443/v1", "https://h.example/v1"),
        ("https://h.example:0443/v1", "https://h.example/v1"),
        ("https://h.example./v1", "https://h.example./v1"),
        ("https://my_gateway:8080/v1", "https://my_gateway:8080/v1"),
        ("https://b\xfccher.example/v1", "https://xn--bcher-kva.example/v1"),
        ("https://xn--bcher-kva.example/v1", "https://xn--bcher-kva.example/v1"),
        ("https://[2001:DB8::1]:8443/v1", "https://[2001:db8::1]:8443/v1"),
        ("https://[fe80::1%eth0]/v1", "https://[fe80::1%eth0]/v1"),
        # A gateway may know a route by any of these.
        ("https://h.example/a%2Fb/", "https://h.example/a%2Fb"),
        ("https://h.example/a%0D%0AX:y", "https://h.example/a%0D%0AX:y"),
        ("https://h.example/\xfc", "https://h.example/%C3%BC"),
        ("https://h.example/a/../b/./c", "https://h.example/b/c"),
        ("https://h.example/a@b", "https://h.example/a@b"),
    ],
)
def test_one_address_is_written_in_one_way(given: str, used: str) -> None:
    assert resolve(base_url=given, api_key=CANARY, environ={}).base_url == used


# --- keys -----------------------------------------------------------------------------------


@pytest.mark.parametrize("environ", [{}, {"OPENAI_API_KEY": ""}, {"OPENAI_API_KEY": " \n"}])
def test_no_key_at_all_is_refused(environ: Mapping[str, str]) -> None:
    with pytest.raises(NoKey) as caught:
        resolve(environ=environ)
    assert "OPENAI_API_KEY" in str(caught.value.hint)


async def test_no_key_on_purpose_sends_none_even_if_there_is_one() -> None:
    endpoint = resolve(no_key=True, environ={"OPENAI_API_KEY": CANARY})
    assert (await endpoint.target("GET", ""))[1] == {}
    assert (await endpoint.account(b"salt")).key_hash is None


async def test_a_key_callable_is_asked_anew_for_each_request() -> None:
    keys = iter(["sk-first", "sk-second"])
    endpoint = resolve(api_key=lambda: next(keys), environ=ENVIRON)
    assert ((await endpoint.target("GET", ""))[1])["Authorization"] == "Bearer sk-first"
    assert ((await endpoint.target("GET", ""))[1])["Authorization"] == "Bearer sk-second"


async def test_blanks_around_a_key_are_not_part_of_it() -> None:
    endpoint = resolve(environ={"OPENAI_API_KEY": f" {CANARY}\n"})
    assert ((await endpoint.target("GET", ""))[1])["Authorization"] == f"Bearer {CANARY}"


@pytest.mark.parametrize("bad", [f"{CANARY}\nX: y", f"{CANARY}\0", f"{CANARY}é", f"a {CANARY}"])
async def test_a_key_that_no_header_can_carry_is_refused_without_being_shown(bad: str) -> None:
    def late() -> str:
        return bad

    with pytest.raises(BadOption) as early:
        resolve(api_key=f"{bad}!", environ={})
    with pytest.raises(BadOption) as asked:
        (await resolve(api_key=late, environ={}).target("GET", ""))[1]
    with pytest.raises(BadOption) as salted:
        await resolve(api_key=late, environ={}).account(b"salt")
    for caught in (early, asked, salted):
        assert CANARY not in everything(caught.value)


async def test_no_secret_stands_in_a_repr() -> None:
    endpoint = resolve(api_key=CANARY, headers={"X-Secret": f"{CANARY}-too"}, environ={})
    assert CANARY not in repr(endpoint)
    assert CANARY not in str(endpoint)
    assert CANARY not in repr(await endpoint.account(b"salt"))
    assert CANARY in (await endpoint.target("GET", ""))[1]["Authorization"]


# --- the account ----------------------------------------------------------------------------


async def account_of(key: str, salt: bytes = b"salt", **more: str) -> object:
    return await resolve(api_key=key, environ={}, **more).account(salt)  # type: ignore[arg-type]  # a dict knows one type for all its values


async def test_an_account_is_told_by_its_key_and_by_nothing_that_opens_a_door() -> None:
    one = await account_of("sk-one")
    assert one == await account_of("sk-one")
    assert one != await account_of("sk-two")
    assert one != await account_of("sk-one", b"other")
    assert one != await account_of("sk-one", organization="org-a")
    assert one != await account_of("sk-one", project="proj_a")
    assert one != await account_of("sk-one", base_url="https://other.example/v1")
    assert "sk-one" not in repr(one)


@given(st.text("abcdefghij0123456789-_", min_size=8, max_size=64), st.binary(max_size=64))
def test_an_account_holds_no_stretch_of_the_key(key: str, salt: bytes) -> None:
    shown = repr(asyncio.run(resolve(api_key=key, environ={}).account(salt)))
    assert key not in shown


async def test_an_account_names_extra_headers_and_not_their_values() -> None:
    headers = {"X-Zone": CANARY, "A-First": CANARY}
    account = await resolve(api_key="k", headers=headers, environ={}).account(b"salt")
    assert account.headers == ("a-first", "x-zone")
    assert CANARY not in repr(account)


# --- headers --------------------------------------------------------------------------------


async def test_a_header_is_sent_once_however_it_is_capitalised() -> None:
    endpoint = resolve(
        api_key=CANARY,
        organization="org-said",
        headers={"x-one": "argument", "OpenAI-organization": "org-header"},
        environ=ENVIRON,
    )
    headers = (await endpoint.target("GET", ""))[1]
    assert headers == {
        "x-one": "argument",
        "X-Two": "environment : kept",
        "OpenAI-Organization": "org-said",
        "Authorization": f"Bearer {CANARY}",
        "OpenAI-Project": "proj_environment",
    }


@given(st.lists(st.dictionaries(st.text("aAbB-", max_size=3), st.text(max_size=3), max_size=4)))
def test_of_headers_with_one_name_the_last_is_taken(mappings: list[dict[str, str]]) -> None:
    found = merged(*mappings)
    low = {name.lower(): value for mapping in mappings for name, value in mapping.items()}
    assert {name.lower(): value for name, value in found.items()} == low
    assert len(found) == len(low)


def test_the_key_has_a_header_of_its_own_and_the_refusal_says_where_it_goes() -> None:
    with pytest.raises(BadOption, match="Authorization") as caught:
        resolve(no_key=True, headers={"authorization": f"Basic {CANARY}"}, environ={})
    assert "OPENAI_API_KEY" in str(caught.value.hint)


# --- limits, and whose variables they are ---------------------------------------------------


def test_limits_are_openais_unless_said_otherwise() -> None:
    assert resolve(api_key="k", environ={}).provider is OPENAI
    limits = Limits(part=5, upload=50)
    found = resolve(api_key="k", limits=limits, environ={}).provider
    assert found.limits == limits
    assert found.base_url == OPENAI.base_url


async def test_without_an_environment_it_is_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    assert await resolve().target("GET", "") == await resolve(environ=ENVIRON).target("GET", "")
    elsewhere = resolve(base_url="https://h.example", api_key="k", environ={})
    _, headers = await elsewhere.target("GET", "")
    assert headers == {"Authorization": "Bearer k"}


def test_an_address_has_one_form() -> None:
    assert address(" HTTPS://H.Example/V1/ ") == "https://h.example/V1"
    with pytest.raises(BadOption):
        address("gateway.example/v1")


@pytest.mark.parametrize(
    ("ambient", "profile", "whose"),
    [
        ("https://h.example/v1", "https://h.example/v1", "shared"),
        ("https://h.example/v1", "https://H.example:443/other/", "shared"),
        ("https://h.example/v1", "https://h.example:444/v1", "nobody"),
        ("https://h.example/v1", "http://h.example/v1", "nobody"),
        ("https://h.example:80/v1", "http://h.example/v1", "nobody"),
        ("https://h.example/v1", "https://h.example.evil/v1", "nobody"),
        ("https://h.example/v1", "https://api.openai.com/v1", "nobody"),
        ("", "https://api.openai.com/v1", "shared"),
        (None, "https://api.openai.com/v1", "shared"),
        (None, "https://gateway.example/v1", "nobody"),
        ("no address", "https://h.example/v1", "nobody"),
        ("no address", "https://api.openai.com/v1", "nobody"),
    ],
)
def test_the_environments_secrets_are_for_one_origin(
    ambient: str | None, profile: str, whose: str
) -> None:
    environ = {"OPENAI_API_KEY": CANARY}
    if ambient is not None:
        environ["OPENAI_BASE_URL"] = ambient
    assert surroundings(profile, environ) == (environ if whose == "shared" else {})


# --- plain http -----------------------------------------------------------------------------

FOREIGN = [
    "http://api.example.com/v1",
    "http://192.168.1.5/v1",
    "http://0.0.0.0/v1",
    "http://128.0.0.1/v1",
    "http://127.0.0.1.evil.example/v1",
    "http://localhost.evil.example/v1",
    "http://127.0.0.1.:80/v1",
    "http://[::2]/v1",
    "http://[fe80::1]/v1",
]
HERE = [
    "http://localhost:8080/v1",
    "http://LOCALHOST/v1",
    "http://127.0.0.1/v1",
    "http://127.0.0.2:1/v1",
    "http://127.255.255.254/v1",
    "http://[::1]:8080/v1",
]


@pytest.mark.parametrize("url", FOREIGN)
def test_a_key_never_leaves_the_machine_over_plain_http(url: str) -> None:
    with pytest.raises(PlainHttp) as caught:
        resolve(base_url=url, api_key=CANARY, environ={})
    assert CANARY not in everything(caught.value)
    with pytest.raises(PlainHttp):
        resolve(api_key=lambda: CANARY, environ={"OPENAI_BASE_URL": url})


@pytest.mark.parametrize("url", FOREIGN)
def test_extra_headers_are_as_secret_as_a_key(url: str) -> None:
    with pytest.raises(PlainHttp):
        resolve(base_url=url, no_key=True, headers={"X-Token": CANARY}, environ={})
    with pytest.raises(PlainHttp):
        resolve(base_url=url, no_key=True, environ={"OPENAI_CUSTOM_HEADERS": f"X-T: {CANARY}"})


@pytest.mark.parametrize("url", FOREIGN)
def test_plain_http_is_allowed_on_demand_or_without_secrets(url: str) -> None:
    assert resolve(base_url=url, api_key=CANARY, allow_http=True, environ={}).key is not None
    assert resolve(base_url=url, no_key=True, environ={}).key is None


@pytest.mark.parametrize("url", HERE)
def test_plain_http_is_allowed_within_this_machine(url: str) -> None:
    assert resolve(base_url=url, api_key=CANARY, headers={"X-A": "b"}, environ={}).key is not None


# --- what cannot be -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "api.openai.com/v1",
        "/v1",
        "ftp://h.example/v1",
        "file:///etc/passwd",
        "https://",
        "https:///v1",
        "http://[::1",
        "https://h.example:99999/v1",
        "https://h.example:x/v1",
        "javascript:alert(1)",
        "ws://h.example",
        *("https:h/v1", "https:/h/v1", "https:\\\\h/v1", "https://h\\v1"),
        # hosts
        *("https://h%zz/v1", "https://h%41/v1", "https://h%00/v1", "http://127.0.0.1%0a.x/v1"),
        *("https://-h/v1", "https://h..x/v1", "https://.h/v1", "https://*.h/v1", "https://./v1"),
        *("https://h;x/v1", "https://h'x/v1", "https://h$(id)/v1", "https://h`id`/v1"),
        *("https://h,x/v1", "https://h|x/v1", 'https://h"x/v1', "https://h<x>/v1"),
        *(f"https://{'a' * 64}.x/v1", f"https://{'a.' * 127}x/v1"),
        *("https://h\N{FRACTION SLASH}x\u200b/v1", "https://h\uff0fx/v1", "https://h\u202e/v1"),
        *("https://[v1.x]/v1", "https://[1.2.3.4]/v1", "https://[]/v1", "https://[::1]x/v1"),
        *("https://[::1/v1", "https://::1/v1", "https://[::x]/v1", "https://x[::1]/v1"),
        # ports
        *("https://h:0/v1", "https://h:+1/v1", "https://h:-1/v1", "https://h:٣/v1"),
        *("https://h:1:2/v1", "https://h:0x10/v1", f"https://h:{'9' * 5000}/v1"),
        # what is not to be seen, or ends a line
        *("https://a b/v1", "https://h/v1 x", "https://h/v1\n/x", "https://h\n.x/v1"),
        *("https://h\t/v1", "https://h/v1\0", "https://h\0/v1", "https://h/\x1b[2J"),
        *("https://h/v1\r\nX-Evil: 1", "https://h/\u202e", "https://h/\ud800", "https://h\u00a0/"),
    ],
)
def test_what_is_no_http_address_is_refused(url: str) -> None:
    with pytest.raises(BadOption):
        resolve(base_url=url, api_key=CANARY, environ={})


@pytest.mark.parametrize(
    "url",
    [
        f"https://user:{CANARY}@h.example/v1",
        f"https://{CANARY}@h.example/v1",
        f"https://:{CANARY}@h.example/v1",
        f"https://h.example/v1?api-key={CANARY}",
        f"https://h.example/v1#{CANARY}",
        f"ftp://user:{CANARY}@h.example/v1",
        f"https://user:{CANARY}@h.example:99999/v1",
        *("https://@h.example/v1", "https://:@h.example/v1", "https://h.example\\@x.example/v1"),
        *("https://h.example/v1?", "https://h.example/v1#", "https://h.example?x/v1"),
    ],
)
def test_credentials_in_a_url_are_refused_and_never_shown(url: str) -> None:
    for how in ({"base_url": url}, {"environ": {"OPENAI_BASE_URL": url}}):
        with pytest.raises(BadOption) as caught:
            resolve(api_key="k", **{"environ": {}, **how})  # type: ignore[arg-type]  # a dict knows one type for all its values
        assert CANARY not in everything(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Authorization", CANARY),
        ("authorization", CANARY),
        ("Host", CANARY),
        ("Content-Length", "5"),
        ("content-type", "text/plain"),
        ("Transfer-Encoding", CANARY),
        ("Connection", "close"),
        ("Content-Encoding", "gzip"),
        ("X-A:", CANARY),
        ("X(A)", CANARY),
        ("X-A", ""),
        ("X-A", f"{CANARY}\r\nX-B: c"),
        ("X-A", f"{CANARY}é"),
        ("X-A\r\nX-B", CANARY),
        ("X A", CANARY),
        ("", CANARY),
    ],
)
def test_headers_that_would_break_a_request_are_refused_and_their_values_not_shown(
    name: str, value: str
) -> None:
    with pytest.raises(BadOption) as caught:
        resolve(api_key="k", headers={name: value}, environ={})
    assert CANARY not in everything(caught.value)


@pytest.mark.parametrize("field", ["organization", "project"])
@pytest.mark.parametrize("bad", ["a\nb", "a\r\nX-Evil: 1", "ö", "\ud800"])
def test_an_organization_or_project_that_no_header_can_carry_is_refused(
    field: str, bad: str
) -> None:
    with pytest.raises(BadOption):
        resolve(api_key="k", environ={}, **{field: bad})  # type: ignore[arg-type]  # a dict knows one type for all its values


@given(st.text(max_size=60) | st.text("htps:/@?#[]%.1x ", max_size=20).map("http{}".format))
def test_any_text_is_an_address_or_is_refused(text: str) -> None:
    try:
        endpoint = resolve(base_url=text, api_key=CANARY, environ={})
    except Refused as error:
        assert CANARY not in everything(error)  # noqa: PT017  (there may be none)
    else:
        assert isinstance(endpoint, Endpoint)
        assert_plain(endpoint.base_url)


def assert_plain(url: str) -> None:
    """It is an address that looks to everybody like the one that it is."""
    assert url.isascii()
    assert url.isprintable()
    assert not set(url) & set(' ?#\\"<>`{}|^')
    scheme, _, rest = url.partition("://")
    authority = rest.partition("/")[0]
    host = authority.removesuffix(f":{authority.rpartition(':')[2]}" if "]:" in authority else "")
    assert scheme in {"http", "https"}
    if host.startswith("["):
        assert ip_address(host[1:-1]).version == 6
    else:
        assert not set(host) - set("abcdefghijklmnopqrstuvwxyz0123456789-_.:")
    assert address(url) == url


@given(
    st.sampled_from(["https://", "HTTP://", "https:/", ""]),
    st.text("aA.-_:%@[]0159\\ ;$\N{FULLWIDTH LATIN SMALL LETTER A}ß", max_size=12),
    st.text("aA.-_:%@[]/0159\\ ;$?#ß", max_size=12),
)
def test_any_host_and_path_is_an_address_or_is_refused(start: str, host: str, path: str) -> None:
    try:
        found = address(f"{start}{host}/{path}")
    except BadOption:
        return
    assert_plain(found)


@given(st.text(max_size=80))
def test_any_text_of_custom_headers_is_taken_or_refused(text: str) -> None:
    try:
        endpoint = resolve(api_key=CANARY, environ={"OPENAI_CUSTOM_HEADERS": text})
        _, headers = asyncio.run(endpoint.target("GET", ""))
    except ChunkupError:
        return
    assert headers["Authorization"] == f"Bearer {CANARY}"
    assert not any(char in f"{name}{value}" for name, value in headers.items() for char in "\r\n")
