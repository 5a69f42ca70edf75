"""Whom to believe, and what to show: where it is said, and what is refused before it is used."""

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from tls import Authority, Pair
from wire import everything
from yarl import URL

from chunkup.endpoint import resolve
from chunkup.errors import BadOption
from chunkup.trust import Trust, context, trust_of

CANARY = "canary-5up3r53cr37"
MTLS = ("OPENAI_MTLS_CLIENT_CERT_FILE", "OPENAI_MTLS_CLIENT_KEY_FILE")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "company")


@pytest.fixture
def pair(authority: Authority) -> Pair:
    return authority.pair("me")


# --- where it is said -----------------------------------------------------------------------


def test_without_a_word_the_operating_system_decides() -> None:
    empty = {"SSL_CERT_FILE": "", "SSL_CERT_DIR": "", **dict.fromkeys(MTLS, "")}
    for environ in ({}, empty):
        assert replace(trust_of(None, None, None, environ), names=Trust().names) == Trust()


def test_an_argument_goes_before_the_variables_and_takes_nothing_of_them() -> None:
    environ = {"SSL_CERT_FILE": "/e.pem", "SSL_CERT_DIR": "/e:/f"}
    environ |= dict(zip(MTLS, ("/c.pem", "/k.pem"), strict=True))
    given = trust_of("/a.pem", "/mine.pem", None, environ)
    assert (given.cacert, given.folders) == ("/a.pem", ())
    assert (given.client_cert, given.client_key) == ("/mine.pem", None)
    ambient = trust_of(None, None, None, environ)
    assert (ambient.cacert, ambient.folders) == ("/e.pem", ("/e", "/f"))
    assert (ambient.client_cert, ambient.client_key) == ("/c.pem", "/k.pem")
    assert ambient.names == ("SSL_CERT_FILE", *MTLS)


def test_home_may_be_written_as_people_write_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    given = trust_of("~/ca.pem", Path("~/c.pem"), "~/k.pem", {})
    paths = (given.cacert, given.client_cert, given.client_key)
    assert paths == ("/home/me/ca.pem", "/home/me/c.pem", "/home/me/k.pem")


def test_a_key_without_a_certificate_is_refused_by_its_name() -> None:
    with pytest.raises(BadOption, match="--client-key names a private key") as caught:
        trust_of(None, None, "/k.pem", dict.fromkeys(MTLS, "/e.pem"))
    assert "--client-cert" in str(caught.value.hint)
    with pytest.raises(BadOption, match=f"{MTLS[1]} names a private key"):
        trust_of(None, None, None, {MTLS[1]: "/k.pem"})


def test_a_destination_of_its_own_gets_no_certificate_of_openais() -> None:
    """What is meant for one host is shown to no other; whom this machine trusts stays."""
    environ = dict(zip(MTLS, ("/c.pem", "/k.pem"), strict=True)) | {"SSL_CERT_FILE": "/e.pem"}
    here = resolve(base_url="https://x.example/v1", api_key="k", environ=environ)
    assert here.trust.client_cert == "/c.pem"
    elsewhere = resolve(
        preset="openai", api_key="k", environ=environ | {"OPENAI_BASE_URL": "https://gw.example/v1"}
    )
    assert (elsewhere.trust.client_cert, elsewhere.trust.cacert) == (None, "/e.pem")


class _Signer:
    base_url = "https://gw.example/v1"

    async def sign(self, method: str, path: str) -> tuple[str, dict[str, str]]:
        return self.base_url + path, {}

    async def secret(self) -> str | None:
        return None


def test_who_signs_elsewhere_is_reached_over_the_same_network() -> None:
    environ = {"SSL_CERT_FILE": "/e.pem", MTLS[0]: "/c.pem", "HTTPS_PROXY": "http://p.example:1"}
    made = resolve(signer=_Signer(), environ=environ)
    assert (made.trust.cacert, made.trust.client_cert) == ("/e.pem", None)
    assert made.proxies.for_url(URL(made.base_url)) is not None


def test_making_a_destination_reads_no_file() -> None:
    """A constructor does no I/O; the files are read at the first use."""
    gone = "/nowhere/at/all.pem"
    endpoint = resolve(api_key="k", cacert=gone, client_cert=gone, client_key=gone, environ={})
    with pytest.raises(
        BadOption, match=r"--cacert names /nowhere/at/all\.pem, which does not exist"
    ):
        context(endpoint.trust)


# --- what is refused ------------------------------------------------------------------------


@contextmanager
def refused(trust: Trust) -> Iterator[list[BaseException]]:
    """The refusal, looked at: nothing of any file's content may show."""
    errors: list[BaseException] = []
    with pytest.raises(BadOption) as caught:
        context(trust)
    errors.append(caught.value)
    assert caught.value.hint
    assert caught.value.exit_code == 2
    assert CANARY not in everything(caught.value)
    assert "PRIVATE KEY" not in everything(caught.value)
    yield errors


def bad_files(folder: Path, good: Path) -> dict[str, tuple[str, str]]:
    """Files that hold no certificate, each with what is said of it."""
    folder.mkdir()
    files: dict[str, tuple[Path, str]] = {
        "missing": (folder / "missing.pem", "which does not exist"),
        "folder": (folder, "which is not a regular file"),
        "pipe": (folder / "pipe", "which is not a regular file"),
        "empty": (folder / "empty.pem", "in which there is no certificate in PEM form"),
        "text": (folder / "text.pem", "in which there is no certificate in PEM form"),
        "der": (folder / "x.der", "in which there is no certificate in PEM form"),
        "torn": (folder / "torn.pem", "which cannot be used"),
        "loop": (folder / "loop", "which cannot be read: Too many levels"),
        "nul": (Path(f"{folder}/a\0b"), "which cannot be read"),
    }
    os.mkfifo(files["pipe"][0])
    files["loop"][0].symlink_to("loop")
    files["empty"][0].touch()
    files["text"][0].write_text(CANARY)
    files["der"][0].write_bytes(ssl.PEM_cert_to_DER_cert(good.read_text()))
    files["torn"][0].write_text(good.read_text().replace("MII", "!!!", 1))
    return {name: (str(path), said) for name, (path, said) in files.items()}


def test_a_file_of_authorities_that_is_none_is_told_by_its_name(
    tmp_path: Path, authority: Authority
) -> None:
    for path, said in bad_files(tmp_path / "bad", authority.path).values():
        for name in ("--cacert", "SSL_CERT_FILE"):
            trust = Trust(cacert=path, names=(name, "", ""))
            with refused(trust) as [error]:
                assert str(error).startswith(f"{name} names ")
                assert said in str(error)


def test_a_client_certificate_that_is_none_is_told_by_its_name(
    tmp_path: Path, authority: Authority, pair: Pair
) -> None:
    for path, said in bad_files(tmp_path / "bad", authority.path).values():
        with refused(Trust(client_cert=path, client_key=str(pair.key))) as [error]:
            both = f"the certificate in {path} and the private key in {pair.key} cannot be used"
            assert str(error).startswith("--client-cert names ") or both in str(error)
            assert said in str(error) or both in str(error)


def test_a_key_that_is_none_is_told_by_its_name(tmp_path: Path, pair: Pair) -> None:
    text = tmp_path / "text.pem"
    text.write_text(CANARY)
    torn = tmp_path / "torn.pem"
    torn.write_text(pair.key.read_text().replace("M", "!", 5) + CANARY)
    for path, said in (
        (tmp_path / "missing.pem", "--client-key names {}, which does not exist"),
        (tmp_path, "--client-key names {}, which is not a regular file"),
        (text, "--client-key names {}, in which there is no private key in PEM form"),
        (pair.certificate, "--client-key names {}, in which there is no private key in PEM form"),
        (torn, "and the private key in {} cannot be used"),
    ):
        with refused(Trust(client_cert=str(pair.certificate), client_key=str(path))) as [error]:
            assert said.format(path) in str(error)


def test_a_certificate_without_its_key_asks_for_the_keys_file(pair: Pair) -> None:
    with refused(Trust(client_cert=str(pair.certificate))) as [error]:
        assert "in which there is no private key" in str(error)
        assert "--client-key" in str(getattr(error, "hint", ""))


def test_a_key_of_another_certificate_is_refused(authority: Authority, pair: Pair) -> None:
    other = authority.pair("other")
    with refused(Trust(client_cert=str(pair.certificate), client_key=str(other.key))) as [error]:
        assert "is not the one of the certificate" in str(error)
        assert str(other.key) in str(error)
        assert str(pair.certificate) in str(error)


@pytest.mark.parametrize("form", ["PKCS8", "TraditionalOpenSSL"])
def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked_for_it(
    tmp_path: Path, pair: Pair, form: str
) -> None:
    """The whole suite runs without a terminal; a prompt would end it, or hang here."""
    plain = serialization.load_pem_private_key(pair.key.read_bytes(), None)
    sealed = tmp_path / "sealed.pem"
    sealed.write_bytes(
        plain.private_bytes(
            serialization.Encoding.PEM,
            getattr(serialization.PrivateFormat, form),
            serialization.BestAvailableEncryption(CANARY.encode()),
        )
    )
    with refused(Trust(client_cert=str(pair.certificate), client_key=str(sealed))) as [error]:
        assert "needs a passphrase, and nobody is asked for one" in str(error)
        assert f"openssl pkey -in {sealed}" in str(getattr(error, "hint", ""))


def test_names_of_files_are_shown_as_a_terminal_may_see_them() -> None:
    with refused(Trust(cacert="/no\x1b[31m/such'file")) as [error]:
        assert "\x1b" not in everything(error)


# --- what is made ---------------------------------------------------------------------------


def test_key_and_certificate_may_stand_in_one_file(tmp_path: Path, pair: Pair) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(pair.key.read_bytes() + pair.certificate.read_bytes())
    context(Trust(client_cert=str(both)))
    context(Trust(client_cert=str(both), client_key=str(both)))
    context(Trust(client_cert=str(pair.certificate), client_key=str(pair.key)))


def test_whom_a_person_names_takes_the_place_of_everybody_else(authority: Authority) -> None:
    made = context(Trust(cacert=str(authority.path)))
    assert [found["issuer"] for found in made.get_ca_certs()] == [
        ((("organizationName", "Company Authority"),), *made.get_ca_certs()[0]["issuer"][1:])
    ]
    for trust in (Trust(), Trust(cacert=str(authority.path))):
        made = context(trust)
        assert made.verify_mode is ssl.CERT_REQUIRED
        assert made.check_hostname
        assert made.minimum_version >= ssl.TLSVersion.TLSv1_2 or (
            made.minimum_version is ssl.TLSVersion.MINIMUM_SUPPORTED
        )


def test_folders_are_taken_if_one_of_them_is_there(tmp_path: Path) -> None:
    context(Trust(folders=(str(tmp_path / "gone"), str(tmp_path))))
    with refused(Trust(folders=(str(tmp_path / "gone"), str(tmp_path / "too")))) as [error]:
        assert str(error) == f"SSL_CERT_DIR names {tmp_path}/gone, which is no folder"
