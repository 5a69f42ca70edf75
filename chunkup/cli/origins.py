"""Each setting of a destination by itself: where it is from, and what is wrong with it.

The values are settled where every command settles them, so that this can't come to another
result. It is only asked several times, with all but one of the settings left away, to learn which
of them it is that cannot be.
"""

import shlex
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from chunkup.cli.destination import resolved
from chunkup.errors import BadOption, ChunkupError, PlainHttp
from chunkup.profile import parse_header
from chunkup.text import printable

if TYPE_CHECKING:
    from chunkup.cli.options import Where
    from chunkup.doctor import Finding
    from chunkup.endpoint import Endpoint
    from chunkup.trust import Trust

# Where the name of a profile is kept that cannot be had.
CHOSEN: Final = "chunkup.doctor.chosen"
_HEADERS: Final = frozenset({"OPENAI_CUSTOM_HEADERS", "CHUNKUP_HEADERS"})
_WHO: Final = frozenset({"OPENAI_ORG_ID", "OPENAI_PROJECT_ID"})
# Certificates and proxies are looked at by themselves, and are no part of an address.
_LINE: Final = frozenset(
    {
        *("SSL_CERT_FILE", "SSL_CERT_DIR"),
        *("OPENAI_MTLS_CLIENT_CERT_FILE", "OPENAI_MTLS_CLIENT_KEY_FILE"),
        *("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"),
    }
)
_KEY: Final = "OPENAI_API_KEY"
_UPLOADS: Final = {
    True: "which has Uploads",
    False: "which has no Uploads",
    None: "and whether it has Uploads is seen when one is tried",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Origins:
    """The settings as far as they can be had.

    Attributes:
        findings: One for each setting.
        endpoint: Where all this leads, without what cannot be had; None without an address.
        named: Whether it is whole, so that it says who asks.
        variable: The environment variable that the key is to be in.
        trust: Whom to believe; None if that cannot be had.
    """

    findings: "tuple[Finding, ...]"
    endpoint: "Endpoint | None"
    named: bool
    variable: str
    trust: "Trust | None"


def origins(
    where: "Where", ctx: click.Context, broken: ChunkupError | None, environ: Mapping[str, str]
) -> Origins:
    """What the options, the profile and the environment come to.

    Args:
        where: The options, without the profile if that is broken.
        ctx: The command's, which knows from where each option has its value.
        broken: What is wrong with the profile.
        environ: Where variables are looked up.
    """
    from chunkup.doctor import trusting

    case = _Case(where, ctx, environ)
    if broken is not None:
        return Origins(
            findings=tuple(case.hidden_by(broken)),
            endpoint=None,
            named=False,
            variable=case.variable,
            trust=None,
        )
    trusted, trust = trusting(where.cacert, where.client_cert, where.client_key, environ)
    bare, whole = case.tried(), case.tried(key=True, headers=True, who=True)
    # As it would be used, and else as much of it as there is.
    known = trust is not None
    best = case.tried(key=True, headers=True, who=True, line=known)
    used = (best, whole, case.tried(line=known), bare)
    return Origins(
        findings=(
            case.profile(),
            case.base_url(bare, whole),
            case.key(bare),
            case.headers(),
            case.account(),
            trusted,
        ),
        endpoint=next((one for one in used if not isinstance(one, ChunkupError)), None),
        named=not isinstance(whole, ChunkupError),
        variable=case.variable,
        trust=trust,
    )


def again(where: "Where", base_url: str) -> str:
    """The command that looks once more; without ids of accounts, and what is no header."""
    headers = []
    for text in where.headers:
        with suppress(BadOption):
            parse_header(text)
            headers.append(text)
    shown = replace(where, base_url=base_url, headers=tuple(headers))
    return replace(shown, organization=None, project=None).command("doctor")


@dataclass(frozen=True, slots=True)
class _Case:
    where: "Where"
    ctx: click.Context
    environ: Mapping[str, str]

    @property
    def variable(self) -> str:
        profile = self.where.profile
        return (profile.api_key if profile else None) or _KEY

    def tried(
        self, *, key: bool = False, headers: bool = False, who: bool = False, line: bool = False
    ) -> "Endpoint | ChunkupError":
        """The destination with these of its settings, or why there is none."""
        from chunkup.endpoint import resolve

        where, environ = self.where, dict(self.environ)
        if not key:
            where = replace(where, no_key=True)
        if not headers:
            profile = where.profile and replace(where.profile, headers=())
            where = replace(where, headers=(), profile=profile)
        if not who:
            where = replace(where, organization=None, project=None)
        if not line:
            where = replace(where, cacert=None, client_cert=None, client_key=None)
        for kept, names in ((headers, _HEADERS), (who, _WHO), (line, _LINE)):
            for name in () if kept else names:
                environ.pop(name, None)
        try:
            return resolve(**{"environ": environ, **resolved(where, environ)})
        except ChunkupError as error:
            return error

    def whence(self, name: str, flag: str) -> str | None:
        """Who set an option: the flag, its variable or the profile; None if nobody did."""
        source = self.ctx.get_parameter_source(name)
        if source is ParameterSource.COMMANDLINE:
            return flag
        if source is ParameterSource.ENVIRONMENT:
            return "CHUNKUP_" + flag.removeprefix("--").upper().replace("-", "_")
        if source is ParameterSource.DEFAULT_MAP and self.where.profile is not None:
            return f"profile {self.where.profile.label}"
        return None

    # --- findings ---------------------------------------------------------------------------

    def hidden_by(self, broken: ChunkupError) -> "Iterator[Finding]":
        yield _failed("profile", broken, usual=self._profile_repair())
        for check in ("base-url", "key", "headers", "account", "trust"):
            yield _finding(check, "skip", "not looked at: the profile has a say in it")

    def _profile_repair(self) -> str:
        from chunkup.config import config_path, names

        try:
            known = names(self.environ)
        except ChunkupError:
            known = {}
        chosen = self.ctx.meta.get(CHOSEN)
        if known and chosen not in known:
            return "chunkup profiles"
        return f"${{EDITOR:-vi}} {shlex.quote(str(config_path(self.environ)))}"

    def profile(self) -> "Finding":
        from chunkup.config import config_path

        profile = self.where.profile
        if profile is None:
            return _finding("profile", "ok", "none is chosen", profile=None)
        set_by = self.whence("profile", "--profile")
        says = f"{profile.label}, chosen by {set_by}; profiles of your own are in {config_path()}"
        return _finding("profile", "ok", says, profile=profile.label)

    def base_url(
        self, bare: "Endpoint | ChunkupError", whole: "Endpoint | ChunkupError"
    ) -> "Finding":
        given = self.whence("base_url", "--base-url")
        if isinstance(bare, ChunkupError):
            if given is None and self.environ.get("OPENAI_BASE_URL"):
                given = "OPENAI_BASE_URL"
            usual = "chunkup doctor --base-url https://HOST/v1"
            if given is not None and given.isupper():
                usual = f"export {given}=https://HOST/v1"
            return _failed("base-url", bare, f"{given}: " if given else "", usual=usual)
        if given is None:
            given = "OPENAI_BASE_URL" if self._said(bare) else "nobody: it is the provider's own"
        url, provider = bare.base_url, bare.provider
        if isinstance(whole, PlainHttp):
            usual = again(self.where, f"https://{url.partition('://')[2]}")
            about = f"{url}, from {given}: "
            return _failed("base-url", whole, about, usual=usual, url=url, source=given)
        says = f"{url}, from {given}; provider {provider.name}, {_UPLOADS[provider.uploads]}"
        facts = {"url": url, "source": given, "provider": provider.name}
        return _finding("base-url", "ok", says, **facts, uploads=provider.uploads)

    def _said(self, bare: "Endpoint") -> bool:
        """Whether an address that no option says is the environment's."""
        from chunkup.endpoint import address

        said = self.environ.get("OPENAI_BASE_URL")
        return bool(said) and address(said or "") == bare.base_url

    def key(self, bare: "Endpoint | ChunkupError") -> "Finding":
        if self.where.no_key:
            says = f"none is sent, as {self.whence('no_key', '--no-key')} says"
            return _finding("key", "ok", says, source=None)
        profile = self.where.profile
        found = self.tried(key=True)
        if isinstance(bare, ChunkupError):
            # Without an address only this can be told.
            if not self.environ.get(self.variable, "").strip():
                says, hint = f"{self.variable} is not set", f"export {self.variable}=..."
                return _finding("key", "fail", says, hint, source=self.variable)
        elif isinstance(found, ChunkupError) and not isinstance(found, PlainHttp):
            return _failed("key", found, source=self.variable, usual=f"export {self.variable}=...")
        says = f"from {self.variable}"
        if profile is not None and profile.api_key is not None:
            says += f", which profile {profile.label} names"
        if self.environ.get(self.variable, "").strip()[:1] in {"'", '"'}:
            says += "; it begins with a quotation mark, as no key does"
            hint = f"export {self.variable}=..."
            return _finding("key", "warn", says, hint, source=self.variable)
        return _finding("key", "ok", says, source=self.variable)

    def headers(self) -> "Finding":
        found = self.tried(headers=True)
        if isinstance(found, ChunkupError) and not isinstance(found, PlainHttp):
            if isinstance(self.tried(), ChunkupError):
                return _finding("headers", "skip", "not looked at: the base URL cannot be")
            usual = "unset CHUNKUP_HEADERS OPENAI_CUSTOM_HEADERS"
            if self.where.headers:
                usual = "chunkup doctor --header 'NAME: env:VARIABLE'"
            return _failed("headers", found, usual=usual)
        sources = dict(self._written())
        names = sorted(sources) if isinstance(found, PlainHttp) else [n for n, _ in found.extra]
        said = [f"{printable(name, 80)} (from {sources.get(name.lower())})" for name in names]
        says = ", ".join(said) or "none but our own"
        return _finding("headers", "ok", says, names=" ".join(names))

    def _written(self) -> Iterator[tuple[str, str]]:
        """Names of headers in lower case with who sets them, the last one last."""
        profile = self.where.profile
        for line in self.environ.get("OPENAI_CUSTOM_HEADERS", "").splitlines():
            yield line.partition(":")[0].strip().lower(), "OPENAI_CUSTOM_HEADERS"
        for header in profile.headers if profile else ():
            yield header.name.lower(), f"profile {profile.label}" if profile else ""
        for line in self.environ.get("CHUNKUP_HEADERS", "").splitlines():
            yield line.partition(":")[0].strip().lower(), "CHUNKUP_HEADERS"
        for text in self.where.headers:
            yield text.partition(":")[0].strip().lower(), "--header"

    def account(self) -> "Finding":
        found = self.tried(who=True)
        if isinstance(found, ChunkupError):
            if isinstance(self.tried(), ChunkupError):
                return _finding("account", "skip", "not looked at: the base URL cannot be")
            return _failed("account", found, usual="unset OPENAI_ORG_ID OPENAI_PROJECT_ID")
        said, facts = [], {}
        for name, value, variable in (
            ("organization", found.organization, "OPENAI_ORG_ID"),
            ("project", found.project, "OPENAI_PROJECT_ID"),
        ):
            source = self.whence(name, f"--{name}") or variable
            said.append(f"{name} from {source}" if value else f"no {name}")
            facts[name] = source if value else None
        return _finding("account", "ok", ", ".join(said), **facts)


def _finding(check: str, state: str, says: str, hint: str | None = None, **facts: Any) -> "Finding":
    from chunkup.doctor import Finding, State

    return Finding(check, State(state), says, hint=hint, facts=facts)


def _failed(
    check: str, error: ChunkupError, about: str = "", *, usual: str, **facts: Any
) -> "Finding":
    from chunkup.doctor import command

    return _finding(check, "fail", about + error.message, command(error.hint, usual), **facts)
