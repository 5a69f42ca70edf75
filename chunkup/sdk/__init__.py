"""A client of the official SDK that signs our requests. The only file that knows the SDK.

The client is asked anew for each request, so keys that rotate, Entra tokens, headers, queries
and subclasses stay its own affair. It makes requests and sends none: what its ``http_client``
would do to them on their way cannot be carried over, and ``luggage`` refuses it by name.

``_prepare_options``, ``_build_request`` and ``_prepare_request`` are the steps by which the SDK
makes every request, the same from 1.55 (2024-11) to 3.54 (2026-11). No public call makes one
without sending it.
"""
# ruff: noqa: SLF001  (the SDK's own steps have no other names)

import asyncio
import re
import sys
from collections.abc import Mapping
from contextlib import aclosing, closing
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from chunkup.aside import aside
from chunkup.errors import BadOption, ChunkupError, Unreachable
from chunkup.key import sendable
from chunkup.profile import HEADER_NAME
from chunkup.sdk.luggage import carried, left_behind
from chunkup.text import printable

if TYPE_CHECKING:
    import openai

# As a key of our own: its source may ask a network. What it has not got by then will not come.
_PATIENCE: Final = 60.0
_PROBE: Final = "/files"

# What the SDK says of its own sending: bodies, answers, connections, attempts.
_OF_THE_SENDING: Final = frozenset(
    {
        *("accept", "accept-encoding", "connection", "content-encoding", "content-length"),
        *("content-type", "expect", "host", "idempotency-key", "keep-alive", "te", "trailer"),
        *("transfer-encoding", "upgrade"),
    }
)
_PREFIX: Final = "x-stainless-"

# Azure has its Files and Uploads beside the deployments. The oldest clients look for them below
# one, and so does each that got such a base_url by hand.
_DEPLOYMENT: Final = re.compile(r"/deployments/[^/]+$")
# A JSON Web Token (RFC 7519): what it says is replaced within the hour.
_TOKEN: Final = re.compile(r"eyJ[\w-]*(?:\.[\w-]*){2,4}", re.ASCII)

_LOOK_AT: Final = "look at the client's api_key and default_headers"
_STEPS: Final = ("_prepare_options", "_build_request", "_prepare_request", "_prepare_url")

# What the client answers for itself, in these arguments' stead.
_THE_CLIENTS: Final = (
    *("base_url", "api_key", "organization", "project"),
    *("no_key", "auth", "query", "signer"),
)


class SdkSigner:
    """The URL and the headers of each request, as an SDK client makes them.

    A client without a loop may wait for its token's source, so it is asked on threads of their
    own. An asynchronous one is asked on the loop that the upload runs on.
    """

    def __init__(self, client: "openai.OpenAI | openai.AsyncOpenAI") -> None:
        self._client: Any = client
        self._waits = isinstance(client, sys.modules["openai"].AsyncOpenAI)
        self._theirs = _base_of(client)
        azure = _is_azure(client)
        self._base_url = _DEPLOYMENT.sub("", self._theirs) if azure else self._theirs
        self._passing = azure or _workload(client) is not None
        self._name: str | None = None
        self._signed = False

    @property
    def base_url(self) -> str:
        """Where the client has its Files and Uploads."""
        return self._base_url

    async def sign(self, method: str, path: str) -> tuple[str, dict[str, str]]:
        """The URL and the headers of one request, without those about its body.

        Raises:
            Unreachable: The client or its token's source raised, or gave nothing in a minute.
            BadOption: What it gave leads elsewhere, or cannot be sent.
        """
        try:
            async with asyncio.timeout(_PATIENCE):
                if self._waits:
                    request = await self._made_by_async(method, path)
                else:
                    request = await aside(partial(self._made, method, path))
        except ChunkupError:
            raise
        except UnicodeError:
            request = None  # such an error holds the text that it is about
        except Exception as error:
            # Of somebody else's error only the name is harmless for sure.
            raise Unreachable(
                f"the SDK client could not make the request ({type(error).__name__}), so nothing "
                "was sent",
                sent=False,
            ) from error
        if request is None:
            raise BadOption(
                "the client's key or one of its headers has characters that no header can carry",
                hint=_LOOK_AT,
            )
        url, headers = self._url_of(request), self._headers_of(request)
        if not self._signed:
            self._name, self._signed = self._name_in(headers), True
        return url, headers

    async def secret(self) -> str | None:
        """The first key that was sent; a key that is replaced makes nobody somebody else.

        None for Entra's and other tokens of an hour: they name nobody for longer.

        Raises:
            ChunkupError: As :meth:`sign`.
        """
        if not self._signed:
            await self.sign("GET", _PROBE)
        return self._name

    # --- as the SDK does it -----------------------------------------------------------------

    def _made(self, method: str, path: str) -> Any:
        options = self._client._prepare_options(_options(method, path))
        request = self._client._build_request(options)
        self._client._prepare_request(request)
        if self._lacks_token(request):
            _sign(request, _workload(self._client).get_token())
        auth = _auth_of(self._client, options)
        if auth is None:
            return request
        with closing(auth.sync_auth_flow(request)) as flow:
            return next(flow)

    async def _made_by_async(self, method: str, path: str) -> Any:
        options = await self._client._prepare_options(_options(method, path))
        request = self._client._build_request(options)
        await self._client._prepare_request(request)
        if self._lacks_token(request):
            _sign(request, await _workload(self._client).get_token_async())
        auth = _auth_of(self._client, options)
        if auth is None:
            return request
        async with aclosing(auth.async_auth_flow(request)) as flow:
            return await anext(flow)

    def _lacks_token(self, request: Any) -> bool:
        """Whether a workload's token is still to be put in, as the SDK does while sending."""
        placeholder = f"Bearer {self._client.api_key}"
        return bool(_workload(self._client)) and request.headers.get("Authorization") == placeholder

    # --- what is taken of it ----------------------------------------------------------------

    def _url_of(self, request: Any) -> str:
        url = str(request.url)
        if not url.startswith(self._theirs + "/"):
            raise BadOption(
                "a request of the client leads away from the base_url that it had, and its key "
                "would go there",
                hint="make an uploader for each base_url, after the client has it",
            )
        return self._base_url + url.removeprefix(self._theirs)

    def _headers_of(self, request: Any) -> dict[str, str]:
        theirs = self._client.user_agent
        found = {
            name: value
            for name, value in request.headers.items()
            if name.lower() not in _OF_THE_SENDING
            and not name.lower().startswith(_PREFIX)
            # That of the SDK would not be true; one that the user chose may be asked for.
            and not (name.lower() == "user-agent" and value == theirs)
        }
        for name, value in found.items():
            if not HEADER_NAME.fullmatch(name) or (value and not sendable(value, " \t")):
                # The value may be the key.
                raise BadOption(
                    f"the client's header {printable(name, 80)!r} has characters that no header "
                    "can carry",
                    hint=_LOOK_AT,
                )
        return found

    def _name_in(self, headers: Mapping[str, str]) -> str | None:
        lowered = {name.lower(): value for name, value in headers.items()}
        if "api-key" in lowered:
            return lowered["api-key"]
        scheme, _, token = lowered.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and (self._passing or _TOKEN.fullmatch(token)):
            return None
        return token or None


def signer_of(client: object, *, own_trust: bool = False) -> SdkSigner:
    """The client as who signs our requests; nothing is asked of it yet.

    Args:
        client: An ``OpenAI``, ``AsyncOpenAI``, ``AzureOpenAI`` or ``AsyncAzureOpenAI``.
        own_trust: The uploader was told whom to trust, whatever the client's ``http_client``
            says.

    Raises:
        BadOption: It is none of these, or has what only its own connections can do.
    """
    sdk = sys.modules.get("openai")
    if sdk is None or not isinstance(client, (sdk.OpenAI, sdk.AsyncOpenAI)):
        raise BadOption(
            f"from_openai() takes a client of the OpenAI SDK, and this is {_described(client)}",
            hint="give it the client itself: from_openai(openai.OpenAI())",
        )
    if not all(hasattr(client, step) for step in _STEPS):
        raise BadOption(
            f"chunkup does not know how openai {printable(sdk.__version__, 40)} makes requests",
            hint="pip install 'openai>=1.55.3,<4', or make an uploader without a client",
        )
    if getattr(client, "_provider_runtime", None) is not None:
        raise BadOption(
            "the client's provider signs requests together with their bodies, and has none here",
            hint="give chunkup a client with api_key and base_url in the provider's place",
        )
    workload = _workload(client)
    if workload is not None and not hasattr(workload, "_get_subject_token"):
        raise BadOption(
            "the client's workload_identity is a certificate of its own connections",
            hint="give chunkup a client with an api_key, and the certificate as client_cert=",
        )
    signer = SdkSigner(client)
    left_behind(client._client, signer.base_url, own_trust=own_trust)
    return signer


def arguments_of(client: object, settings: Mapping[str, Any]) -> dict[str, Any]:
    """An uploader's arguments: ``settings``, and the client in the place of what it answers for.

    Raises:
        BadOption: As :func:`signer_of`; or one of the settings is the client's to say.
    """
    for name in _THE_CLIENTS:
        if settings.get(name):
            raise BadOption(
                f"{name} is the client's own affair in from_openai()",
                hint=f"set {name} on the client, or make an uploader without a client",
            )
    own_trust = any(settings.get(name) for name in ("cacert", "client_cert"))
    signer = signer_of(client, own_trust=own_trust)
    sent = signer._client.default_headers.items()
    named = {name.lower(): value for name, value in sent if isinstance(value, str)}
    return {
        **settings,
        "signer": signer,
        # The requests have them from the client; the account is told by them.
        "organization": named.get("openai-organization"),
        "project": named.get("openai-project"),
    }


def _base_of(client: Any) -> str:
    """What the client puts before the path of Files and Uploads, without a slash at the end."""
    base = client.base_url
    found = str(client._prepare_url(_PROBE))
    if base.userinfo or base.query or not found.endswith(_PROBE):
        raise BadOption(
            "the client's base_url has a user name, a password, a query or a fragment",
            hint="set api_key=, default_headers= or default_query= on the client in its place",
        )
    return found.removesuffix(_PROBE)


def _options(method: str, path: str) -> Any:
    # The key of an administrator is for none of these paths, whatever else the client has.
    return sys.modules["openai._models"].FinalRequestOptions.construct(
        method=method.lower(), url=path, security={"bearer_auth": True}
    )


def _auth_of(client: Any, options: Any) -> Any:
    """What puts more into a finished request: the client's, or its ``http_client``'s."""
    newer = hasattr(client, "_custom_auth")
    custom = client._custom_auth(options.security) if newer else client.custom_auth
    return carried(client._client.auth if custom is None else custom, client._client)


def _workload(client: Any) -> Any:
    return getattr(client, "_workload_identity_auth", None)


def _sign(request: Any, token: str) -> None:
    request.headers["Authorization"] = f"Bearer {token}"


def _is_azure(client: object) -> bool:
    sdk = sys.modules["openai"]
    return isinstance(client, (sdk.AzureOpenAI, sdk.AsyncAzureOpenAI))


def _described(client: object) -> str:
    if client is sys.modules.get("openai"):
        return "the module openai, which is none until it is used"
    return f"of the class {printable(type(client).__qualname__, 80)}"
