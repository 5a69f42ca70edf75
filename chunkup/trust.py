"""Whom to believe in TLS, and what to show of ourselves.

The operating system's store decides whom. ``--cacert`` replaces it, and without that
``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` do, as OpenSSL and the official SDKs have them: what is not
in there is not believed. A client certificate is given by ``--client-cert`` and ``--client-key``,
or by the variables of the official command line, ``OPENAI_MTLS_CLIENT_CERT_FILE`` and
``OPENAI_MTLS_CLIENT_KEY_FILE`` (openai/openai-cli, pkg/cmd/mtls.go, read 2026-11-21).

Nobody is ever asked for a passphrase, and of a key nothing is shown.
"""

import os
import re
import ssl
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from shlex import quote
from typing import Any, Final, NoReturn

import truststore

from chunkup.errors import BadOption
from chunkup.text import printable

_LONGEST: Final = 16 << 20
_CERTIFICATE: Final = re.compile(rb"-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----")
_KEY: Final = re.compile(rb"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----")
_CACERT: Final = "--cacert"
_FLAGS: Final = ("--client-cert", "--client-key")
_VARIABLES: Final = ("OPENAI_MTLS_CLIENT_CERT_FILE", "OPENAI_MTLS_CLIENT_KEY_FILE")


@dataclass(frozen=True, slots=True)
class Trust:
    """Paths of PEM files.

    Attributes:
        cacert: The authorities to believe instead of the operating system's.
        folders: More of them, in folders as OpenSSL's ``rehash`` makes them.
        client_cert: What to show to a server that asks who we are: the certificate first, then
            those that lead to an authority.
        client_key: Its private key; None if it stands in the same file.
        names: What ``cacert``, ``client_cert`` and ``client_key`` were called where they were
            given.
    """

    cacert: str | None = None
    folders: tuple[str, ...] = ()
    client_cert: str | None = None
    client_key: str | None = None
    names: tuple[str, str, str] = (_CACERT, *_FLAGS)


def trust_of(
    cacert: str | os.PathLike[str] | None,
    client_cert: str | os.PathLike[str] | None,
    client_key: str | os.PathLike[str] | None,
    environ: Mapping[str, str],
) -> Trust:
    """What was given, and else what the environment says; no file is opened yet.

    A certificate and its key come from one place: to a flag no variable is added.

    Raises:
        BadOption: A key without a certificate.
    """
    folders: tuple[str, ...] = ()
    authorities, named = _path(cacert), _CACERT
    if authorities is None:
        authorities, named = environ.get("SSL_CERT_FILE") or None, "SSL_CERT_FILE"
        folders = tuple(filter(None, environ.get("SSL_CERT_DIR", "").split(os.pathsep)))
    pair, names = (_path(client_cert), _path(client_key)), _FLAGS
    if pair == (None, None):
        certificate, key = (environ.get(name) or None for name in _VARIABLES)
        pair, names = (certificate, key), _VARIABLES
    if pair[0] is None and pair[1] is not None:
        raise BadOption(
            f"{names[1]} names a private key, and there is no certificate that it belongs to",
            hint=f"name the certificate's file with {names[0]}",
        )
    return Trust(authorities, folders, *pair, names=(named, *names))


def context(trust: Trust) -> ssl.SSLContext:
    """What aiohttp makes connections with; the files are read now.

    Raises:
        BadOption: One of them is missing, or is not what it has to be.
    """
    made: ssl.SSLContext
    if trust.cacert is None and not trust.folders:
        made = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    else:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # Whom a person names is believed, whoever else may have signed it; curl has it so too.
        made.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
        _believe(made, trust)
    if trust.client_cert is not None:
        _introduce(made, trust, trust.client_cert)
    _tell_signers(made)
    return made


def _path(given: str | os.PathLike[str] | None) -> str | None:
    return os.path.expanduser(given) or None if given is not None else None  # noqa: PTH111  (text stays as it was written)


def _believe(made: ssl.SSLContext, trust: Trust) -> None:
    if trust.cacert is not None:
        name = trust.names[0]
        raw = _read(name, trust.cacert)
        if not _CERTIFICATE.search(raw):
            _no_certificate(name, trust.cacert)
        try:
            made.load_verify_locations(cafile=trust.cacert)
        except (OSError, ValueError) as error:
            raise BadOption(
                f"{name} names {_shown(trust.cacert)}, which cannot be used: {_reason(error)}",
                hint=f"name another with {name}",
            ) from None
    # As OpenSSL has it, a folder that is not there does no harm beside one that is.
    folders = [folder for folder in trust.folders if os.path.isdir(folder)]  # noqa: PTH112  (as written)
    if trust.folders and not folders:
        raise BadOption(
            f"SSL_CERT_DIR names {printable(trust.folders[0], 200)}, which is no folder",
            hint="unset SSL_CERT_DIR",
        )
    for folder in folders:
        made.load_verify_locations(capath=folder)


def _introduce(made: ssl.SSLContext, trust: Trust, certificate: str) -> None:
    _, name, key_name = trust.names
    raw = _read(name, certificate)
    if not _CERTIFICATE.search(raw):
        _no_certificate(name, certificate)
    key = trust.client_key or certificate
    if not _KEY.search(raw if key == certificate else _read(key_name, key)):
        if trust.client_key is None:
            raise BadOption(
                f"{name} names {_shown(certificate)}, in which there is no private key",
                hint=f"name the key's file with {key_name}",
            )
        raise BadOption(
            f"{key_name} names {_shown(key)}, in which there is no private key in PEM form",
            hint=f"make one with: openssl pkey -in {quote(_shown(key))} -out client-key.pem",
        )

    def nobody() -> str:
        raise BadOption(
            f"the private key in {_shown(key)} needs a passphrase, and nobody is asked for one",
            hint=f"make one without: openssl pkey -in {quote(_shown(key))} -out client-key.pem",
        )

    try:
        made.load_cert_chain(certificate, key, password=nobody)
    except (OSError, ValueError) as error:
        if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
            raise BadOption(
                f"the private key in {_shown(key)} is not the one of the certificate in "
                f"{_shown(certificate)}",
                hint=f"name the files of one pair with {name} and {key_name}; the certificate "
                "itself comes first in its file",
            ) from None
        raise BadOption(
            f"the certificate in {_shown(certificate)} and the private key in {_shown(key)} cannot "
            f"be used: {_reason(error)}",
            hint=f"name the files of one pair with {name} and {key_name}",
        ) from None


def _read(name: str, path: str) -> bytes:
    """The beginning of a file, without waiting for whoever might write into a pipe."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if stat.S_ISREG(os.fstat(handle).st_mode):
                return os.read(handle, _LONGEST)
        finally:
            os.close(handle)
    except FileNotFoundError:
        reason = "which does not exist"
    except (OSError, ValueError) as error:
        reason = f"which cannot be read: {getattr(error, 'strerror', None) or error}"
    else:
        reason = "which is not a regular file"
    raise BadOption(f"{name} names {_shown(path)}, {reason}", hint=f"name another with {name}")


def _no_certificate(name: str, path: str) -> NoReturn:
    raise BadOption(
        f"{name} names {_shown(path)}, in which there is no certificate in PEM form",
        hint=f"make it one with: openssl x509 -in {quote(_shown(path))} -out certificate.pem",
    )


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None)
    return printable(reason or type(error).__name__, 200)


def _shown(path: str) -> str:
    return printable(path, 200)


# --- who signed it ----------------------------------------------------------------------------


def _tell_signers(made: ssl.SSLContext) -> None:
    """Let a refused certificate leave a note about who signed it.

    Python does not tell; a second connection only to ask would be one more to explain.
    """
    inner = getattr(made, "_ctx", made)  # what truststore wraps
    known: Any = inner.sslobject_class

    class Telling(known):  # type: ignore[misc]  # a class that is known only now
        def do_handshake(self) -> None:
            try:
                super().do_handshake()
            except ssl.SSLCertVerificationError as error:
                with suppress(Exception):  # a note is a favour, and this one rests on internals
                    error.add_note(_signer(self._sslobj.get_unverified_chain()))
                raise

    inner.sslobject_class = Telling


def _signer(chain: Any) -> str:
    """Who signed the last certificate of a chain, in a few words."""
    names = [value for parts in chain[-1].get_info()["issuer"] for _, value in parts]
    return printable(", ".join(names), 200)
