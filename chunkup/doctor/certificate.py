"""What a certificate says of itself. Everything in it is what somebody else wrote."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Certificate:
    """One certificate: by whom, for whom, until when (Unix seconds).

    Attributes:
        issuer: Who signed it, organization and common name.
        root: The last of the chain, as far as that is known; empty if it is not.
        names: Whom it is made out to.
        ends: When it expires.
        own: Whether it vouches for itself.
    """

    issuer: str
    root: str
    names: str
    ends: float
    own: bool


def presented(connection: Any) -> Certificate | None:
    """What the other side of a TLS connection showed, verified or not; None if unreadable.

    Python shows the chain to the public from 3.13 on, and as bytes without a reader for them; the
    object below has had both since 3.10.
    """
    try:
        inner = connection._sslobj  # noqa: SLF001  (see above)
        shown = [one.get_info() for one in inner.get_unverified_chain() or ()]
        chain = [one.get_info() for one in inner.get_verified_chain() or ()] or shown
        return _read(shown[0], chain[-1])
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, ssl.SSLError):
        return None


def noting(context: ssl.SSLContext) -> list[Certificate]:
    """Where the certificates of servers are noted with which no TLS comes about."""
    noted: list[Certificate] = []
    inner = getattr(context, "_ctx", context)  # what truststore wraps
    known: Any = inner.sslobject_class

    class Noting(known):  # type: ignore[misc]  # a class that is known only now
        def do_handshake(self) -> None:
            try:
                super().do_handshake()
            except ssl.SSLCertVerificationError:
                found = presented(self)
                noted.extend([found] if found else [])
                raise

    inner.sslobject_class = Noting
    return noted


def at(path: Path) -> Certificate | None:
    """The first certificate of a PEM file; None if that is unreadable."""
    try:
        # What the test suite of Python reads certificates with, and nothing else does.
        info = ssl._ssl._test_decode_cert(str(path))  # type: ignore[attr-defined]  # noqa: SLF001
        return _read(info, info)
    except (AttributeError, KeyError, TypeError, ValueError, OSError):
        return None


def _read(info: dict[str, Any], last: dict[str, Any]) -> Certificate:
    issuer = _who(info["issuer"])
    root = _who(last["subject"])
    own = info["issuer"] == info["subject"]
    said = [str(value) for _, value in info.get("subjectAltName", ())]
    return Certificate(
        issuer=issuer,
        root="" if own or last is info else root,
        names=", ".join(said[:5]) or _who(info["subject"]),
        ends=float(ssl.cert_time_to_seconds(info["notAfter"])),
        own=own,
    )


def _who(name: Any) -> str:
    """``Organization, Common Name`` of a distinguished name."""
    found = {key: str(value) for part in name for key, value in part}
    said = (found.get(key) for key in ("organizationName", "commonName"))
    return ", ".join(dict.fromkeys(filter(None, said)))
