"""Whom this machine believes in TLS, and what it shows of itself."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from chunkup.doctor.certificate import at
from chunkup.doctor.finding import Fact, Finding, State, command
from chunkup.errors import ChunkupError
from chunkup.text import duration_text
from chunkup.trust import Trust, context, trust_of

_SOON: Final = 7 * 86400.0


def trusting(
    cacert: str | None, client_cert: str | None, client_key: str | None, environ: Mapping[str, str]
) -> tuple[Finding, Trust | None]:
    """What the files are that a connection needs; no trust if one of them cannot be used."""
    try:
        trust = trust_of(cacert, client_cert, client_key, environ)
        context(trust)
    except ChunkupError as error:
        hint = command(error.hint, _instead(error.message))
        return Finding("trust", State.FAIL, error.message, hint=hint), None
    whom = [] if trust.cacert is None else [f"{trust.cacert} (from {trust.names[0]})"]
    whom += [f"{folder} (from SSL_CERT_DIR)" for folder in trust.folders]
    says = " and ".join(whom) or "the operating system's store"
    facts: dict[str, Fact] = {"store": says, "client_cert": trust.client_cert}
    if trust.client_cert is None:
        says += "; no client certificate"
        return Finding("trust", State.OK, says, facts=facts), trust
    name = trust.names[1]
    says += f"; client certificate {trust.client_cert} (from {name})"
    shown = at(Path(trust.client_cert))
    left = _SOON + 1
    if shown is not None:
        left, facts["client_cert_ends"] = shown.ends - time.time(), shown.ends
        ends = f"ends in {duration_text(left)}" if left > 0 else "has expired"
        says += f", which {ends}"
    if left > _SOON:
        return Finding("trust", State.OK, says, facts=facts), trust
    variable = "CHUNKUP_CLIENT_CERT" if name.startswith("-") else name
    state = State.WARN if left > 0 else State.FAIL
    return Finding("trust", state, says, hint=f"export {variable}=NEW.pem", facts=facts), trust


def _instead(message: str) -> str:
    """What to do about the flag or the variable that names a file of no use."""
    named = message.partition(" ")[0]
    if named.startswith("--") and "private key" not in message:
        return f"chunkup doctor {named} FILE.pem"
    if named.isupper():
        return f"unset {named}"
    return "chunkup doctor --client-cert CERTIFICATE.pem --client-key KEY.pem"
