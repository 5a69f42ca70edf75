"""What a client's connections would do to a request, and ours do not: refused by name.

The connections are those of httpx or httpx2, which keep what they were told, if at all, where
only their own code looks. What leaves no trace cannot be refused: a client certificate, inside a
``verify`` or a ``cert``, has to be given to chunkup once more.
"""
# ruff: noqa: SLF001  (httpx says nowhere else what it was told)

import os
import ssl
import sys
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from yarl import URL

from chunkup.errors import BadOption
from chunkup.proxies import Proxies, here
from chunkup.text import printable

_WITHOUT: Final = "give chunkup a client without http_client"
_OUR_PROXY: Final = f"export HTTPS_PROXY=http://..., which chunkup goes by; or {_WITHOUT}"
_OUR_TRUST: Final = "name the certificates once more: from_openai(client, cacert='ca.pem')"


def left_behind(http: Any, base_url: str, *, own_trust: bool) -> None:
    """Look for what requests to ``base_url`` would go without.

    Raises:
        BadOption: There is something.
    """
    family = _family(http)
    if type(http).send not in {family.Client.send, family.AsyncClient.send}:
        raise _refusal(f"a send() of its own ({printable(type(http).__qualname__, 80)})", _WITHOUT)
    for hook in (hook for hooks in http.event_hooks.values() for hook in hooks):
        # Azure's clients bring one, for redirects. We follow none.
        if not str(getattr(hook, "__module__", "")).startswith("openai."):
            raise _refusal("event_hooks", f"{_WITHOUT}; trace_configs= hears of our requests")
    carried(http.auth, http)
    transport = http._transport_for_url(family.URL(base_url))
    if type(transport) in {family.HTTPTransport, family.AsyncHTTPTransport}:
        way, proxy = transport._pool, getattr(transport._pool, "_proxy_url", None)
        trust, local, uds = way._ssl_context, *_ends(way, "_local_address", "_uds")
    elif type(transport).__name__ == "AiohttpTransport":
        proxy = getattr(getattr(transport, "proxy", None), "url", None)
        trust, local, uds = _ends(transport, "ssl_context", "local_address", "uds")
    else:
        what = "transport" if transport is http._transport else "mounts"
        raise _refusal(f"{what} ({printable(type(transport).__qualname__, 80)})", _WITHOUT)
    if local is not None or uds is not None:
        raise _refusal("local_address or uds", _WITHOUT)
    _same_way(proxy, URL(base_url))
    if trust is not None and base_url.startswith("https:") and not own_trust:
        _compare(trust, family.create_ssl_context(trust_env=http.trust_env))


def carried(auth: Any, http: Any) -> Any:
    """The given ``auth``, if its first step is all of it.

    Raises:
        BadOption: It wants to see bodies, or an answer first.
    """
    asks = auth is not None and (
        isinstance(auth, _family(http).DigestAuth)
        or auth.requires_request_body
        or auth.requires_response_body
    )
    if asks:
        name = printable(type(auth).__qualname__, 80)
        raise _refusal(
            f"an auth that needs a body or an answer first ({name})",
            "give chunkup a client with an api_key, or with default_headers",
        )
    return auth


def _family(http: Any) -> ModuleType:
    """The library that the ``http_client`` is of."""
    for each in type(http).__mro__:
        name = each.__module__.partition(".")[0]
        if name in {"httpx", "httpx2"}:
            return sys.modules[name]
    raise _refusal(f"a class that chunkup does not know ({type(http).__qualname__})", _WITHOUT)


def _ends(way: object, *names: str) -> list[Any]:
    return [getattr(way, name, None) for name in names]


def _same_way(proxy: Any, url: URL) -> None:
    """Compare the proxy of the client with the one that we would take."""
    variables = Proxies.of(os.environ)
    ours, theirs = variables.for_url(url), None if proxy is None else _address(proxy)
    if theirs == (ours and ours.url):
        return
    if theirs is None:
        raise _refusal(f"no proxy where {ours} is named", f"export NO_PROXY={url.host}")
    # To this machine we never take one. A client that goes by variables would.
    place = theirs.partition("://")[2]
    if not (here(url.host or "") and any(place in value for _, _, value in variables.said)):
        raise _refusal("a proxy of its own", _OUR_PROXY)


def _address(proxy: Any) -> str:
    """A proxy's URL without what lets one through, whichever of the libraries wrote it."""
    scheme, host = (
        each.decode() if isinstance(each, bytes) else each for each in (proxy.scheme, proxy.host)
    )
    return str(URL.build(scheme=scheme, host=host, port=proxy.port)).rstrip("/")


def _compare(theirs: ssl.SSLContext, plain: ssl.SSLContext) -> None:
    if theirs.verify_mode != plain.verify_mode or theirs.check_hostname != plain.check_hostname:
        raise _refusal("verify=False", _OUR_TRUST)
    given, usual = (set(each.get_ca_certs(binary_form=True)) for each in (theirs, plain))
    if usual - given or not given <= usual | _in_folder(given):
        raise _refusal("verify", _OUR_TRUST)


def _in_folder(wanted: set[bytes]) -> set[bytes]:
    """What the system's folder of certificates holds; a context takes from it as it goes."""
    folder = ssl.get_default_verify_paths().capath
    if not wanted or folder is None:
        return set()
    probe = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for path in Path(folder).iterdir():
        with suppress(OSError):  # an SSLError is one, too
            probe.load_verify_locations(cafile=path)
    return set(probe.get_ca_certs(binary_form=True))


def _refusal(what: str, hint: str) -> BadOption:
    return BadOption(f"the client's http_client has {what}, which chunkup cannot use", hint=hint)
