"""What the doctor finds out about journal and server, and what it shows of all that to nobody."""

import os
import sqlite3
import stat
import time
from contextlib import closing
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from desk import KEY, LIST, WHO, Desk, desk
from hypothesis import given
from hypothesis import strategies as st
from wire import Caller, reply

from chunkup.doctor import Finding, State, Veil, disk
from chunkup.journal.opening import open_database

__all__ = ["desk"]


# --- the journal ------------------------------------------------------------------------------


def shape(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Everything below a folder, as it would differ if anybody had touched it."""
    found = {}
    for path in sorted(folder.rglob("*")):
        told = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(told.st_mode) else b""
        found[str(path)] = (told.st_mode, told.st_mtime_ns, content)
    return found


def a_journal(desk: Desk) -> Path:
    with closing(open_database(desk.journal).conn) as db:
        values = {
            "set_id": "s",
            "created_at": 1.0,
            "base_url": "u",
            "headers": "",
            "path": b"p",
            "start": 0,
            "stop": 5,
            "size": 5,
            "mtime_ns": 1,
            "inode": "1",
            "device": "1",
            "purpose": "batch",
            "filename": "f",
            "mime_type": "m",
            "part_size": 1,
            "md5": 1,
            "method": "auto",
        }
        for job in ("aaa222", "bbb333", "ccc444"):
            row = {"id": job, **values}
            marks = ", ".join("?" * len(row))
            db.execute(f"INSERT INTO jobs ({', '.join(row)}) VALUES ({marks})", [*row.values()])
        db.execute("INSERT INTO endings (job_id, kind, ended_at) VALUES ('ccc444', 'failed', 1.0)")
    return desk.journal


def test_the_journal_is_read_without_a_trace_even_while_another_holds_it(desk: Desk) -> None:
    path = a_journal(desk)
    before = shape(desk.home)
    seen = desk.look()
    assert "0600, " in seen["journal"].says
    assert seen["journal"].says.endswith("1 failed, 2 unfinished")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert desk.look()["journal"] == seen["journal"]
    assert shape(desk.home) == before


def test_one_that_a_dead_run_left_half_written_is_not_judged(desk: Desk) -> None:
    path = a_journal(desk)
    path.with_name("journal.db-journal").write_bytes(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" * 8)
    before = shape(desk.home)
    assert "being written" in desk.look()["journal"].says
    assert shape(desk.home) == before


def damaged(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[8192:12288] = b"\xff" * 4096
    path.write_bytes(content)


def damaged_in_passing(path: Path) -> None:
    """Where nobody looks who only counts jobs."""
    with closing(sqlite3.connect(path)) as db:
        (page,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'runs'").fetchone()
        (size,) = db.execute("PRAGMA page_size").fetchone()
    content = bytearray(path.read_bytes())
    content[(page - 1) * size : page * size] = b"\xff" * size
    path.write_bytes(content)


def sql(*statements: str) -> Any:
    def change(path: Path) -> None:
        with closing(sqlite3.connect(path)) as db, db:
            for statement in statements:
                db.execute(statement)

    return change


def linked(path: Path) -> None:
    path.rename(path.with_suffix(".real"))
    path.symlink_to(path.with_suffix(".real"))


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


NEWER = (
    "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('chunkup', 'm9', '')"
)
OLDER = "DELETE FROM _sqlite_migrations WHERE name != 'm001_facts'"


@pytest.mark.parametrize(
    ("change", "state", "says", "hint"),
    [
        (damaged, "fail", "it is damaged", "mv ~/state/journal.db ~/state/journal.db.damaged"),
        (damaged_in_passing, "fail", "it is damaged", "mv ~/state/journal.db"),
        (lambda path: path.write_bytes(b"no database" * 99), "fail", "it is damaged", "mv ~/state"),
        (sql(NEWER), "fail", "a newer version", "pip install --upgrade chunkup-uploads"),
        (sql(OLDER), "ok", "brings up to date", None),
        (sql("PRAGMA application_id = 7"), "fail", "some other program's", "export CHUNKUP_JOUR"),
        (linked, "fail", "it is a symbolic link", "export CHUNKUP_JOURNAL="),
        (a_folder, "fail", "it is not a regular file", "export CHUNKUP_JOURNAL="),
        (lambda path: path.chmod(0o640), "warn", "0640", "chmod 600 ~/state/journal.db"),
        (lambda path: path.parent.chmod(0o777), "fail", "everybody may write", "chmod o-w ~/state"),
        (lambda path: path.write_bytes(b""), "ok", "0600, 0 bytes, empty", None),
    ],
)
def test_a_journal_of_no_use_is_said_to_be_and_left_as_it_is(
    desk: Desk, change: Any, state: str, says: str, hint: str | None
) -> None:
    change(a_journal(desk))
    before = shape(desk.home)
    desk.wire(reply(LIST))
    seen = desk.look()
    assert seen["journal"].state == state
    assert says in seen["journal"].says
    assert (seen["journal"].hint or "").startswith(hint or "")
    assert seen["answer"].state == "ok"
    assert shape(desk.home) == before


def test_a_place_where_no_journal_can_be(desk: Desk) -> None:
    (desk.home / "file").write_text("x")
    desk.set(CHUNKUP_JOURNAL=str(desk.home / "file" / "journal.db"))
    seen = desk.look()
    assert "~/file is no folder" in seen["journal"].says
    if os.geteuid() == 0:
        return  # nothing can be withheld from root
    (desk.home / "locked").mkdir(mode=0o500)
    desk.set(CHUNKUP_JOURNAL=str(desk.home / "locked" / "journal.db"))
    assert "you may not write in ~/locked" in desk.look()["journal"].says


def test_one_that_changes_under_the_look_is_looked_at_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, looks = a_journal(desk), []
    desk.wire(reply(LIST))
    real = disk._content

    def changing(seen: Path) -> Any:
        looks.append(seen)
        if len(looks) == 1:
            os.utime(path, ns=(1, 1))
            raise sqlite3.DatabaseError("torn between two versions")
        return real(seen)

    monkeypatch.setattr(disk, "_content", changing)
    assert desk.look()["journal"].says.endswith("1 failed, 2 unfinished")
    assert len(looks) == 2


def test_a_disk_that_never_answers_is_not_waited_for(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.wire(reply(LIST))
    pipe = os.pipe()
    monkeypatch.setattr("chunkup.doctor.examination.disk", lambda *_: os.read(pipe[0], 1))
    try:
        seen = desk.look("--timeout", "2")
    finally:
        os.write(pipe[1], b"x")
    assert seen.failed == {"journal"}
    assert "~/state/journal.db (CHUNKUP_JOURNAL) could not be looked" in seen["journal"].says
    assert seen["answer"].state == "ok"


def test_a_sqlite_that_is_too_old_for_the_journal(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.wire(reply(LIST))
    monkeypatch.setattr("chunkup.doctor.software._OLDEST_SQLITE", (99,))
    assert desk.look().failed == {"chunkup"}


@pytest.mark.parametrize(("least", "state"), [("_LITTLE", "warn"), ("_NOTHING", "fail")])
def test_a_disk_that_is_nearly_full(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, least: str, state: str
) -> None:
    desk.wire(reply(LIST))
    monkeypatch.setattr("chunkup.doctor.disk._LITTLE", 1 << 62)
    monkeypatch.setattr(f"chunkup.doctor.disk.{least}", 1 << 62)
    seen = desk.look()["disk"]
    assert seen.state == state
    assert seen.says.endswith(" free under the journal")
    assert (seen.hint or "").startswith("df -h ")


# --- the answer -------------------------------------------------------------------------------


def error(message: str, **more: str) -> dict[str, object]:
    return {"error": {"message": message, "type": "t", "param": None, "code": None, **more}}


@pytest.mark.parametrize(
    ("answer", "state", "says", "hint"),
    [
        (
            reply(error(f"Incorrect API key provided: {KEY}", code="invalid_api_key"), 401),
            "fail",
            "401 after",
            "export OPENAI_API_KEY=...",
        ),
        (
            reply(error(f"No, {KEY[:9]}****{KEY[-4:]} of {WHO}: missing scope files.read"), 403),
            "fail",
            "it says: No, *** of *** missing scope files.read",
            "export OPENAI_API_KEY=...",
        ),
        (reply(b"nothing here", 404), "fail", "knows no Files", "chunkup doctor --base-url URL"),
        (reply(b"not so", 405), "fail", "knows no Files", "chunkup doctor --base-url URL"),
        (reply(b"who", 407), "fail", "a proxy on the way", "chunkup doctor"),
        (
            reply(b"", 302, {"Location": f"https://portal.example/login?key={KEY}"}),
            "fail",
            "it is a redirect to portal.example",
            "chunkup doctor --base-url https://",
        ),
        (reply(error("slow down"), 429), "warn", "fewer requests", "chunkup doctor"),
        (
            reply(error("no money", code="insufficient_quota"), 429),
            "fail",
            "it says: no money",
            "chunkup doctor",
        ),
        (reply(error("oops"), 500), "fail", "it is not you; it says: oops", "chunkup doctor"),
        (reply(b"<html><title>Down</title>", 503), "fail", "it says: Down", "chunkup doctor"),
        (reply(error("odd"), 400), "fail", "the server refuses this; it says: odd", "chunkup"),
        (
            reply(b"<html>log in", 200, {"Content-Type": "text/html; charset=utf-8"}),
            "fail",
            "a web page came instead of JSON",
            "chunkup doctor --base-url URL",
        ),
        (reply({"files": []}), "fail", "no list of Files", "chunkup doctor --base-url URL"),
        (reply(b""), "fail", "no list of Files", "chunkup doctor --base-url URL"),
        (b"nonsense\r\n\r\n", "fail", "the connection broke", "chunkup doctor"),
        (b"HTTP/1.1 200 X\r\nContent-Length: 9\r\n\r\n{", "fail", "", "chunkup doctor"),
    ],
)
def test_what_an_answer_means(desk: Desk, answer: bytes, state: str, says: str, hint: str) -> None:
    async def serve(caller: Caller) -> None:
        await caller.request()
        await caller.say(answer)

    wire = desk.serve(serve)
    bare = wire.url.removesuffix("/v1")
    desk.set(OPENAI_BASE_URL=bare)
    seen = desk.look()
    assert seen.failed == ({"answer"} if state == "fail" else set())
    assert seen["answer"].state == state
    assert says in seen["answer"].says
    assert (seen["answer"].hint or "").startswith(hint.replace("URL", wire.url))
    assert len(wire.asked) == 1, "once is enough"
    if b" 401 " in answer:
        assert "it says" not in seen["answer"].says, "it would say which key"


def test_a_base_url_with_its_version_is_not_given_another(desk: Desk) -> None:
    wire = desk.wire(reply(b"nothing here", 404))
    again = f"chunkup doctor --base-url {wire.url} --journal ~/state/journal.db"
    assert desk.look()["answer"].hint == again


def test_a_server_that_never_answers_costs_the_time_that_was_given(desk: Desk) -> None:
    async def serve(caller: Caller) -> None:
        await caller.request()
        await caller.for_ever()

    desk.serve(serve)
    seen = desk.look("--timeout", "1")
    assert seen.failed == {"answer"}
    assert "no answer came within 1 s" in seen["answer"].says
    assert seen["clock"].state == "skip"


def test_a_slow_answer_is_pointed_out(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.wire(reply(LIST))
    monkeypatch.setattr("chunkup.doctor.asking._SLOW", 0.0)
    seen = desk.look()
    assert (seen.code, seen["answer"].state) == (0, "warn")


@pytest.mark.parametrize("status", [200, 401])
@pytest.mark.parametrize("ahead", [7200, -7200])
def test_a_wrong_clock_is_told_from_any_answer(desk: Desk, ahead: int, status: int) -> None:
    date = formatdate(time.time() - ahead, usegmt=True)
    desk.wire(reply(LIST, status, {"Date": date}))
    seen = desk.look()["clock"]
    assert seen.state == "warn"
    assert ("ahead of" if ahead > 0 else "behind") in seen.says
    assert abs(float(seen.facts["ahead"]) - ahead) < 60


def test_what_a_server_says_is_harmless_on_a_terminal(desk: Desk) -> None:
    evil = f"\x1b]0;owned\x07 \x1b[2J\u202eevil {KEY[3:12]}"
    desk.wire(reply(error(evil), 403, {"x-request-id": f"r\x1b[31m{KEY[4:14]}"}))
    code, out, _ = desk.raw()
    assert code == 1
    assert all(char.isprintable() or char == "\n" for char in out)


# --- what nobody may see ----------------------------------------------------------------------

PIECES = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=4, max_size=40)


@given(secret=PIECES, before=st.text(max_size=9), after=st.text(max_size=9), data=st.data())
def test_no_four_letters_of_a_secret_are_left_in_what_others_say(
    secret: str, before: str, after: str, data: st.DataObject
) -> None:
    begin = data.draw(st.integers(0, len(secret) - 4))
    end = data.draw(st.integers(begin + 4, len(secret)))
    shown = Veil([secret], None).words(f"key {before}{secret[begin:end]}{after} is wrong")
    assert secret[begin : begin + 4] not in shown.replace("key ", "").replace(" is wrong", "")


def test_what_others_say_is_printable_and_short() -> None:
    assert Veil([], None).words("\x1b[2J" + "y" * 999, 20) == "\\x1b[2J" + "y" * 13 + "…"


@pytest.mark.parametrize("masked", ["sk-p****wxyz", "****", "sk-...wxyz", "sk-…wxyz", "xxxxwxyz"])
def test_a_key_that_a_server_masked_is_masked_whole(masked: str) -> None:
    assert Veil([], None).words(f"no key {masked}: bad") == "no key *** bad"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/home/me/state/journal.db", "~/state/journal.db"),
        ("/home/me", "~"),
        ("/home/me: full", "~: full"),
        ("/home/member/x", "/home/member/x"),
        ("chmod 600 '/home/me/my state/journal.db'", "chmod 600 ~/'my state/journal.db'"),
    ],
)
def test_the_users_own_folder_is_a_tilde_that_a_shell_understands(text: str, shown: str) -> None:
    found = Veil([], "/home/me/").finding(Finding("c", State.FAIL, text, text, {"path": text}))
    assert (found.says, found.hint, found.facts) == (shown, shown, {"path": shown})


def test_a_secret_that_stands_where_none_belongs_is_not_shown_either() -> None:
    veil = Veil(["sk-0123456789", "team"], None)
    assert veil.text("https://host/sk-0123456789/v1 of team") == "https://host/***/v1 of team"
