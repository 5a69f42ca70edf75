"""``chunkup doctor`` in this process, held at each run to what holds for all of them."""

import json
import os
import shlex
import socket
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from elsewhere import in_a_thread
from tls import listening_tls
from wire import Serve, Wire, answering, listening, reply

from chunkup.cli.main import run

KEY = "sk-canary-5up3r53cr37k3y"
HEADER = "canary-h34d3r-v4lu3"
LITERAL = "canary-pr0f1l3-v4lu3"
PASSWORD = "canary-pr0xy-p4ssw0rd"
WHO = "org-canary-0rg4n1z4t10n"
CANARIES = (KEY, HEADER, LITERAL, PASSWORD, WHO, "hunter2")

CHECKS = [
    *("chunkup", "profile", "base-url", "key", "headers", "account", "trust", "journal", "disk"),
    *("proxy", "name", "connection", "tls", "answer", "clock"),
]
STATES = {"ok", "warn", "fail", "skip"}
# What a hint may begin with: all of it is to be pasted.
PROGRAMS = {
    *(
        "chunkup",
        "export",
        "unset",
        "chmod",
        "mv",
        "pip",
        "openssl",
        "nslookup",
        "date",
        "df",
        "python3",
    ),
    "${EDITOR:-vi}",
}
LIST: dict[str, object] = {
    "object": "list",
    "data": [],
    "first_id": None,
    "last_id": None,
    "has_more": False,
}

_Opened = TypeVar("_Opened")


@dataclass(frozen=True)
class Line:
    state: str
    says: str
    hint: str | None
    facts: dict[str, Any]


@dataclass(frozen=True)
class Seen:
    """What one run said."""

    code: int
    lines: dict[str, Line]

    @property
    def failed(self) -> set[str]:
        return {name for name, line in self.lines.items() if line.state == "fail"}

    def __getitem__(self, check: str) -> Line:
        return self.lines[check]


class Desk:
    """Runs the command in this process; every run is held to what holds for all."""

    def __init__(
        self, folder: Path, environ: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir()
        self.journal = self.home / "state" / "journal.db"
        self._environ, self._capsys = environ, capsys
        self._open = ExitStack()
        for name in os.environ:
            if name.startswith(
                ("OPENAI_", "CHUNKUP_", "XDG_", "SSL_CERT_", "AZURE_")
            ) or name.lower().endswith("_proxy"):
                environ.delenv(name)
        self.set(
            HOME=str(self.home),
            OPENAI_API_KEY=KEY,
            OPENAI_ORG_ID=WHO,
            CHUNKUP_JOURNAL=str(self.journal),
            CHUNKUP_HEADERS="X-Team: env:TEAM",
            TEAM=HEADER,
        )

    def set(self, **values: str) -> None:
        for name, value in values.items():
            if value:
                self._environ.setenv(name, value)
            else:
                self._environ.delenv(name, raising=False)

    def open(self, opening: AbstractAsyncContextManager[_Opened]) -> _Opened:
        """Keep it open until the test is over."""
        return self._open.enter_context(in_a_thread(lambda: opening))

    def wire(self, *replies: bytes) -> Wire:
        """A server that gives these answers; the environment leads to it."""
        return self.serve(answering(*replies))

    def serve(self, serve: Serve) -> Wire:
        wire = self.open(listening(serve))
        self.set(OPENAI_BASE_URL=wire.url)
        return wire

    def tls(self, context: Any, serve: Serve | None = None) -> str:
        url = self.open(listening_tls(serve or answering(reply(LIST)), context))
        self.set(OPENAI_BASE_URL=url)
        return url

    def close(self) -> None:
        self._open.close()

    def raw(self, *arguments: str) -> tuple[int, str, str]:
        code = run(["doctor", *arguments])
        said = self._capsys.readouterr()
        for canary in CANARIES:
            for at in range(len(canary) - 7):
                piece = canary[at : at + 8]
                assert piece not in said.out + said.err, f"{canary} shows"
        assert "Traceback" not in said.err
        assert str(self.home) not in said.out + said.err
        return code, said.out, said.err

    def look(self, *arguments: str) -> Seen:
        code, out, _ = self.raw("--json", *arguments)
        *checks, last = [json.loads(text) for text in out.splitlines()]
        lines = {}
        for found in checks:
            assert (found.pop("v"), found.pop("event")) == (1, "check")
            assert found.pop("time") > 1e9
            check = found.pop("check")
            lines[check] = Line(**found)
        assert list(lines) == CHECKS
        states = [line.state for line in lines.values()]
        assert last == {
            "v": 1,
            "time": last["time"],
            "event": "summary",
            "exit_code": code,
            **{state: states.count(state) for state in sorted(STATES)},
        }
        assert code == (1 if "fail" in states else 0)
        for name, line in lines.items():
            assert "\n" not in line.says
            assert (line.hint is not None) == (line.state in {"warn", "fail"}), name
            if line.hint is not None:
                assert shlex.split(line.hint)[0] in PROGRAMS, f"{name}: {line.hint}"
        return Seen(code, lines)


def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture
def desk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Desk]:
    opened = Desk(tmp_path, monkeypatch, capsys)
    try:
        yield opened
    finally:
        opened.close()
