"""Which proxy is on the way: what the environment says, and what it may not."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire import everything
from yarl import URL

from chunkup.endpoint import resolve
from chunkup.errors import BadOption
from chunkup.proxies import Proxies, Proxy, here

API = URL("https://api.example/v1/files")
PLAIN = URL("http://api.example/v1/files")
CANARY = "canary-5up3r53cr37"
PROXY = "http://proxy.example:3128"


def chosen(environ: dict[str, str], url: URL = API) -> Proxy | None:
    return Proxies.of(environ).for_url(url)


def refused(environ: dict[str, str], url: URL = API) -> BadOption:
    with pytest.raises(BadOption) as caught:
        chosen(environ, url)
    assert caught.value.exit_code == 2
    return caught.value


# --- which one ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "https", "http"),
    [
        ({}, None, None),
        ({"HTTPS_PROXY": "http://a:1"}, "HTTPS_PROXY", None),
        ({"https_proxy": "http://a:1"}, "https_proxy", None),
        ({"HTTP_PROXY": "http://a:1"}, None, "HTTP_PROXY"),
        ({"http_proxy": "http://a:1"}, None, "http_proxy"),
        ({"https_proxy": "http://a:1", "HTTPS_PROXY": "http://b:1"}, "https_proxy", None),
        ({"https_proxy": "", "HTTPS_PROXY": "http://b:1"}, "HTTPS_PROXY", None),
        ({"https_proxy": " ", "HTTPS_PROXY": " \n"}, None, None),
        # A header "Proxy:" of somebody's request would come as this variable.
        ({"HTTP_PROXY": "http://a:1", "REQUEST_METHOD": "GET"}, None, None),
        ({"http_proxy": "http://a:1", "REQUEST_METHOD": "GET"}, None, "http_proxy"),
        ({"HTTPS_PROXY": "http://a:1", "REQUEST_METHOD": "GET"}, "HTTPS_PROXY", None),
        # What is not needed is not judged.
        ({"HTTPS_PROXY": "http://a:1", "HTTP_PROXY": "socks5://x"}, "HTTPS_PROXY", "refused"),
        ({"HTTPS_PROXY": "http://a:1", "ALL_PROXY": "http://x"}, "HTTPS_PROXY", "refused"),
        ({"HTTPS_PROXY": "http://a:1", "FTP_PROXY": "socks5://x"}, "HTTPS_PROXY", None),
    ],
)
def test_each_kind_of_address_has_its_variable(
    environ: dict[str, str], https: str | None, http: str | None
) -> None:
    for url, expected in ((API, https), (PLAIN, http)):
        if expected == "refused":
            refused(environ, url)
        else:
            found = chosen(environ, url)
            assert (found.variable if found else None) == expected


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("http://proxy.example:3128", "http://proxy.example:3128"),
        ("HTTP://Proxy.Example:3128/", "http://proxy.example:3128"),
        ("proxy.example:3128", "http://proxy.example:3128"),
        ("proxy.example", "http://proxy.example"),
        ("http://proxy.example", "http://proxy.example"),
        ("10.1.2.3:8080", "http://10.1.2.3:8080"),
        ("http://[fd00::1]:3128", "http://[fd00::1]:3128"),
        (" http://proxy.example:3128\n", "http://proxy.example:3128"),
        ("http://me:pw@proxy.example:3128", "http://proxy.example:3128"),
        ("me:pw@proxy.example:3128", "http://proxy.example:3128"),
        ("http://b\xfccher.example:1", "http://xn--bcher-kva.example:1"),
    ],
)
def test_an_address_may_be_written_in_several_ways(written: str, url: str) -> None:
    found = chosen({"HTTPS_PROXY": written})
    assert found is not None
    assert found.url == url
    assert str(found) == f"the proxy {url.removeprefix('http://')} (HTTPS_PROXY)"


# --- what can't be honoured -----------------------------------------------------------------


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy"])
@pytest.mark.parametrize("kind", ["socks", "socks4", "socks4a", "socks5", "socks5h", "https"])
def test_a_proxy_of_another_kind_is_refused_by_the_name_of_its_variable(
    variable: str, kind: str
) -> None:
    for written in (kind, kind.upper()):
        error = refused({variable: f"{written}://me:{CANARY}@{CANARY}.example:1080"})
        assert error.message == (
            f"{variable} names a proxy of the kind {kind}, which is not supported"
        )
        assert f"set {variable} to an http:// proxy" in str(error.hint)
        assert "NO_PROXY=api.example" in str(error.hint)
        assert CANARY not in everything(error)


@pytest.mark.parametrize("variable", ["ALL_PROXY", "all_proxy"])
def test_a_proxy_for_everything_is_refused_where_it_would_be_used(variable: str) -> None:
    for value in (PROXY, f"socks5://{CANARY}"):
        error = refused({variable: value})
        assert error.message == f"{variable} names a proxy for everything, which is not supported"
        assert CANARY not in everything(error)
        assert chosen({variable: value, "NO_PROXY": "api.example"}) is None
        assert chosen({variable: value, "HTTPS_PROXY": PROXY}) is not None


@pytest.mark.parametrize(
    "written",
    [
        CANARY + "://proxy.example",
        "ftp://" + CANARY,
        "http://",
        f"http://:{CANARY}@",
        "http://proxy.example:0/" + CANARY,
        "http://proxy.example:99999/" + CANARY,
        f"http://{CANARY} .example",
        f"http://pro\x1bxy.example/{CANARY}",
        f"{CANARY}@",
        "http://[::1/" + CANARY,
    ],
)
def test_what_is_no_address_is_refused_and_never_shown(written: str) -> None:
    error = refused({"HTTPS_PROXY": written})
    assert error.message == "HTTPS_PROXY is not the address of a proxy"
    assert CANARY not in everything(error)


@given(st.text(min_size=1, max_size=60))
def test_whatever_is_written_is_a_proxy_or_a_refusal_and_never_a_way_past_it(text: str) -> None:
    try:
        found = chosen({"HTTPS_PROXY": text})
    except BadOption:
        return
    assert (found is None) == (not text.strip())


# --- the password ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("userinfo", "pair"),
    [
        (f"me:{CANARY}", f"me:{CANARY}"),
        (f"me%40corp:{CANARY}%3A%2F%25", f"me@corp:{CANARY}:/%"),
        (f"{CANARY}", f"{CANARY}:"),
        (f":{CANARY}", f":{CANARY}"),
        (f"me:{CANARY}@x", f"me:{CANARY}@x"),
        (f"m%C3%BC:{CANARY}", f"m\xfc:{CANARY}"),
    ],
)
def test_a_password_goes_into_one_header_and_is_shown_nowhere(userinfo: str, pair: str) -> None:
    proxies = Proxies.of({"HTTPS_PROXY": f"http://{userinfo}@proxy.example:3128"})
    found = proxies.for_url(API)
    assert found is not None
    scheme, _, encoded = found.headers["Proxy-Authorization"].partition(" ")
    assert (scheme, base64.b64decode(encoded).decode()) == ("Basic", pair)
    endpoint = resolve(
        base_url=str(API), api_key="k", environ={"HTTPS_PROXY": f"http://{userinfo}@h:1"}
    )
    for shown in (repr(proxies), str(proxies), repr(found), str(found), repr(endpoint), found.url):
        assert CANARY not in shown
        assert encoded not in shown


def test_without_a_password_there_is_no_header() -> None:
    found = chosen({"HTTPS_PROXY": PROXY})
    assert found is not None
    assert found.headers == {}


# --- exemptions -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("listed", "direct", "proxied"),
    [
        ("*", ["https://api.example/v1", "https://10.0.0.1"], []),
        ("x, *", ["https://api.example/v1"], []),
        (
            "api.example",
            ["https://api.example", "https://sub.api.example", "https://api.example:8443"],
            ["https://notapi.example", "https://api.example.org", "https://example"],
        ),
        ("API.Example.", ["https://api.example", "https://api.example./v1"], []),
        ("api.example", ["https://api.example./v1", "https://API.EXAMPLE"], []),
        (".example", ["https://api.example", "https://a.b.example"], ["https://example"]),
        ("*.example", ["https://api.example", "https://a.b.example"], ["https://example"]),
        (
            "api.example:8443",
            ["https://api.example:8443", "https://sub.api.example:8443"],
            ["https://api.example", "https://api.example:443"],
        ),
        ("api.example:443", ["https://api.example"], ["https://api.example:8443"]),
        ("api.example:80", ["http://api.example"], ["https://api.example"]),
        (".example:443", ["https://api.example"], ["https://api.example:1"]),
        ("10.0.0.1", ["https://10.0.0.1", "https://10.0.0.1:8443"], ["https://10.0.0.11"]),
        ("10.0.0.1:8443", ["https://10.0.0.1:8443"], ["https://10.0.0.1"]),
        (
            "10.0.0.0/8",
            ["https://10.255.1.2"],
            ["https://11.0.0.1", "https://10.example", "https://[fd00::1]"],
        ),
        ("10.9.9.9/8", ["https://10.255.1.2"], []),
        ("fd00::1", ["https://[fd00::1]", "https://[FD00:0::1]:8443"], ["https://[fd00::2]"]),
        ("[fd00::1]", ["https://[fd00::1]"], []),
        ("[fd00::1]:8443", ["https://[fd00::1]:8443"], ["https://[fd00::1]"]),
        ("fd00::1:443", [], ["https://[fd00::1]"]),
        ("fd00::/8", ["https://[fd12::1]", "https://[fd12::1]:1"], ["https://[fe80::1]"]),
        ("a.example,,b.example , c.example", ["https://b.example", "https://c.example"], []),
        ("a.example b.example", ["https://a.example", "https://b.example"], []),
        ("b\xfccher.example", ["https://b\xfccher.example"], []),
        ("xn--bcher-kva.example", ["https://b\xfccher.example"], []),
        # What means nothing exempts nobody, and least of all an address by its last digits.
        ("1,.1,0.1,.0.0.1,:,::,[,],/,//,.,..,*.,example:x", [], ["https://10.0.0.1"]),
        ("https://api.example", [], ["https://api.example"]),
        ("10.0.0.0/99,10.0.0.0/x", [], ["https://10.0.0.1"]),
        (" , ,", [], ["https://api.example"]),
    ],
)
def test_the_list_of_exemptions(listed: str, direct: list[str], proxied: list[str]) -> None:
    for variable in ("NO_PROXY", "no_proxy"):
        environ = {"HTTPS_PROXY": PROXY, "HTTP_PROXY": PROXY, variable: listed}
        for url in direct:
            assert chosen(environ, URL(url)) is None, url
        for url in proxied:
            assert chosen(environ, URL(url)) is not None, url


def test_the_list_in_lower_case_goes_first() -> None:
    environ = {"HTTPS_PROXY": PROXY, "NO_PROXY": "api.example", "no_proxy": "other.example"}
    assert chosen(environ) is not None
    assert chosen(environ | {"no_proxy": ""}) is None


@given(st.text(max_size=40), st.sampled_from(["https://api.example", "https://10.0.0.1:8443"]))
def test_no_list_can_break_anything(listed: str, url: str) -> None:
    chosen({"HTTPS_PROXY": PROXY, "NO_PROXY": listed}, URL(url))


@pytest.mark.parametrize(
    ("host", "is_here"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("127.1", False),
        ("localhost.example", False),
        ("my.localhost", False),
        ("10.0.0.1", False),
        ("0.0.0.0", False),
        ("", False),
    ],
)
def test_what_is_here_is_never_reached_through_a_proxy(host: str, *, is_here: bool) -> None:
    assert here(host) is is_here
    if host:
        authority = f"[{host}]" if ":" in host else host
        for variables in (
            {"HTTPS_PROXY": PROXY},
            {"ALL_PROXY": PROXY},
            {"HTTPS_PROXY": "socks5://x"},
        ):
            try:
                found = chosen(variables, URL(f"https://{authority}:8000/v1"))
            except BadOption:
                assert not is_here
            else:
                assert (found is None) is is_here


# --- the destination ------------------------------------------------------------------------


def test_what_cannot_be_honoured_is_refused_before_anything_is_sent() -> None:
    for variables in ({"HTTPS_PROXY": "socks5://x:1"}, {"ALL_PROXY": PROXY}):
        with pytest.raises(BadOption, match="not supported"):
            resolve(base_url=str(API), api_key="k", environ=variables)
        resolve(base_url="http://127.0.0.1:1/v1", api_key="k", environ=variables)


def test_a_profile_of_another_place_goes_through_the_same_network() -> None:
    environ = {"HTTPS_PROXY": PROXY, "OPENAI_API_KEY": "sk-theirs"}
    endpoint = resolve(
        preset="openai", api_key="k", environ={**environ, "OPENAI_BASE_URL": "https://x"}
    )
    found = endpoint.proxies.for_url(URL(endpoint.base_url))
    assert found is not None
    assert found.variable == "HTTPS_PROXY"
