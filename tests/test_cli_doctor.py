"""``chunkup doctor`` as people and scripts meet it: where each setting is from, or broken."""

import asyncio
import json
import os
import random
import re
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from desk import CHECKS, HEADER, KEY, LIST, LITERAL, PASSWORD, WHO, Desk, desk
from house import House, open_house
from test_cli import Shell, shell
from wire import Caller, reply

__all__ = ["desk", "shell"]

PAGE = (Path(__file__).parent.parent / "docs" / "doctor.md").read_text("utf-8")

# --- all is well ------------------------------------------------------------------------------


def test_where_nothing_is_wrong_each_check_says_so(desk: Desk) -> None:
    house: House = desk.open(open_house(desk.folder / "server", key=KEY))
    desk.set(OPENAI_BASE_URL=house.url)
    seen = desk.look()
    assert (seen.code, {line.state for line in seen.lines.values()}) == (0, {"ok"})
    assert seen["base-url"].says.startswith(f"{house.url}, from OPENAI_BASE_URL; ")
    assert seen["key"].says == "from OPENAI_API_KEY"
    assert seen["headers"].says == "X-Team (from CHUNKUP_HEADERS)"
    assert seen["account"].says == "organization from OPENAI_ORG_ID, no project"
    assert seen["journal"].says.startswith("~/state/journal.db (CHUNKUP_JOURNAL) is not there yet")
    assert seen["answer"].facts["status"] == 200
    assert str(seen["answer"].facts["request_id"]).startswith("req_")
    assert house.calls == ["list"], "nothing else is asked, and nothing is made"
    assert list(desk.home.iterdir()) == [], "not even a folder"


def test_people_read_the_same_in_lines(desk: Desk) -> None:
    desk.wire(reply(LIST))
    code, out, err = desk.raw()
    assert code == 0
    assert [line.split()[:2] for line in out.splitlines()] == [
        [("ok" if check != "clock" else "skip"), check] for check in CHECKS
    ]
    assert err == "nothing is wrong that would keep an upload from going\n"
    desk.set(OPENAI_API_KEY="")
    code, out, err = desk.raw()
    assert code == 1
    assert "\n      hint: export OPENAI_API_KEY=...\n" in out
    assert err == "to be repaired: key\n"


def test_what_was_chosen_by_flags_is_said_to_be(desk: Desk) -> None:
    wire = desk.wire(reply(LIST))
    desk.set(OPENAI_BASE_URL="https://elsewhere.example/v1", CHUNKUP_PROJECT="proj-1")
    flags = ["--base-url", wire.url, "--header", f"X-Other: {LITERAL}", "--organization", WHO]
    seen = desk.look(*flags, "--journal", str(desk.home / "j.db"))
    assert "from --base-url" in seen["base-url"].says
    assert "X-Other (from --header)" in seen["headers"].says
    assert seen["account"].says == "organization from --organization, project from CHUNKUP_PROJECT"
    assert seen["journal"].says.startswith("~/j.db (--journal)")
    (asked,) = wire.asked
    assert (asked.headers["x-other"], asked.headers["authorization"]) == (LITERAL, f"Bearer {KEY}")
    assert (asked.method, asked.target) == ("GET", "/v1/files?order=desc&limit=1")


def test_a_profile_is_named_with_what_it_says(desk: Desk) -> None:
    wire = desk.wire(reply(LIST))
    config(
        desk,
        f'[profiles.lab]\nbase_url = "{wire.url}"\napi_key = "env:LAB_KEY"\n'
        f'headers = {{ X-Lab = "{LITERAL}" }}\n',
    )
    desk.set(LAB_KEY=KEY, OPENAI_API_KEY="", OPENAI_BASE_URL="")
    seen = desk.look("--profile", "lab")
    assert seen.code == 0
    assert seen["profile"].says.startswith("lab, chosen by --profile")
    assert seen["key"].says == "from LAB_KEY, which profile lab names"
    assert "from profile lab" in seen["base-url"].says
    assert "X-Lab (from profile lab)" in seen["headers"].says
    assert wire.asked[0].headers["authorization"] == f"Bearer {KEY}"


def config(desk: Desk, text: str) -> Path:
    path = desk.home / "config.toml"
    path.write_text(text, "utf-8")
    desk.set(CHUNKUP_CONFIG=str(path))
    return path


# --- settings ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("broken", "flags", "check", "says", "hint"),
    [
        ({"OPENAI_API_KEY": ""}, [], "key", "no API key", "export OPENAI_API_KEY=..."),
        ({"OPENAI_API_KEY": f"{KEY}\nX: y"}, [], "key", "no header can carry", "export OPENAI_A"),
        ({"TEAM": ""}, [], "headers", "X-Team comes from TEAM", "export TEAM=..."),
        ({"CHUNKUP_HEADERS": HEADER}, [], "headers", "no name in front", "unset CHUNKUP_HEADERS"),
        (
            {"OPENAI_CUSTOM_HEADERS": f"Authorization: Bearer {HEADER}"},
            [],
            "headers",
            "Authorization carries the key",
            "unset CHUNKUP_HEADERS OPENAI_CUSTOM_HEADERS",
        ),
        ({}, ["-H", HEADER], "headers", "no name in front", "chunkup doctor --header"),
        ({"OPENAI_ORG_ID": f"{WHO}\nX"}, [], "account", "organization has char", "unset OPENAI_"),
        ({}, ["--cacert", "/nowhere.pem"], "trust", "--cacert names /nowhere", "chunkup doctor"),
        ({"SSL_CERT_FILE": "/nowhere.pem"}, [], "trust", "does not exist", "unset SSL_CERT_FILE"),
        ({}, ["--client-key", "k.pem"], "trust", "no certificate", "chunkup doctor --client-cert"),
    ],
)
def test_a_broken_setting_is_one_line_and_the_others_are_still_looked_at(
    desk: Desk, broken: Mapping[str, str], flags: list[str], check: str, says: str, hint: str
) -> None:
    wire = desk.wire(reply(LIST))
    desk.set(**broken)
    seen = desk.look(*flags)
    assert seen.failed == {check}
    assert says in seen[check].says
    assert (seen[check].hint or "").startswith(hint)
    assert (seen["connection"].state, seen["answer"].state) == ("ok", "ok")
    # Half of what says who asks is not sent.
    who = {"authorization", "x-team", "openai-organization"}
    sent = who & wire.asked[0].headers.keys()
    assert sent == (who if check == "trust" else set())


@pytest.mark.parametrize(
    ("url", "flag"),
    [
        ("https://me:hunter2@host.example/v1", False),
        ("https://me:hunter2@host.example/v1", True),
        (f"host.example/{KEY}", True),
        ("ftp://host.example", False),
        ("https://host.example/v1?key=hunter2", True),
    ],
)
def test_a_base_url_that_is_none_is_not_shown(desk: Desk, url: str, flag: bool) -> None:  # noqa: FBT001  (a row of the table)
    desk.set(OPENAI_BASE_URL="" if flag else url)
    seen = desk.look(*(["--base-url", url] if flag else []))
    assert seen.failed == {"base-url"}
    assert seen["base-url"].says.startswith("--base-url: " if flag else "OPENAI_BASE_URL: ")
    assert "https://HOST/v1" in (seen["base-url"].hint or "")
    assert seen["key"].state == "ok"
    assert {seen[check].state for check in CHECKS[9:]} == {"skip"}


def test_a_key_never_goes_over_plain_http_to_find_out_whether_it_may(desk: Desk) -> None:
    proxy = desk.wire(reply(LIST))
    desk.set(OPENAI_BASE_URL="http://lab.example/v1", http_proxy=proxy.url.removesuffix("/v1"))
    seen = desk.look()
    assert "over plain http" in seen["base-url"].says
    again = "chunkup doctor --base-url https://lab.example/v1 --journal ~/state/journal.db"
    assert seen["base-url"].hint == seen["tls"].hint == again
    assert seen["tls"].state == "warn"
    (asked,) = proxy.asked
    assert not {"authorization", "x-team"} & asked.headers.keys()


@pytest.mark.parametrize(
    ("text", "says", "hint"),
    [
        (f'[profiles.other]\nbase_url = "{LITERAL}', "is not TOML", "${EDITOR:-vi} ~/config.toml"),
        ("[profiles.lab]\nnonsense = 1\n", "which is not known", "${EDITOR:-vi} ~/config.toml"),
        ('[profiles.other]\nbase_url = "https://x"\n', "there is no profile", "chunkup profiles"),
        (None, "which does not exist", "unset CHUNKUP_CONFIG"),
        (
            '[profiles.lab]\nbase_url = "https://me:hunter2@x/v1"\n',
            "cannot carry a user name",
            "${EDITOR:-vi} ~/config.toml",
        ),
    ],
)
def test_a_broken_profile_sends_nothing_anywhere(
    desk: Desk, text: str | None, says: str, hint: str
) -> None:
    wire = desk.wire(reply(LIST))
    path = config(desk, text or "")
    if text is None:
        path.unlink()
    seen = desk.look("--profile", "lab")
    assert seen.failed == {"profile"}
    assert says in seen["profile"].says
    assert seen["profile"].hint == hint
    assert (seen["journal"].state, seen["disk"].state) == ("ok", "ok")
    assert wire.connections == 0


def test_a_profile_whose_key_is_missing_names_its_variable(desk: Desk) -> None:
    wire = desk.wire(reply({"error": {"message": "who?"}}, 401))
    config(desk, f'[profiles.lab]\nbase_url = "{wire.url}"\napi_key = "env:LAB_KEY"\n')
    seen = desk.look("--profile", "lab")
    assert seen.failed == {"key"}
    assert seen["key"].hint == "export LAB_KEY=..."
    assert "as is to be expected of a request without a key" in seen["answer"].says


def test_a_key_in_quotation_marks_is_pointed_out(desk: Desk) -> None:
    desk.wire(reply(LIST))
    desk.set(OPENAI_API_KEY=f'"{KEY}"')
    seen = desk.look()
    assert (seen.code, seen["key"].state) == (0, "warn")
    assert "quotation mark" in seen["key"].says


def test_without_a_key_on_purpose_none_is_missed(desk: Desk) -> None:
    desk.wire(reply(LIST))
    desk.set(OPENAI_API_KEY="")
    seen = desk.look("--no-key")
    assert (seen.code, seen["key"].says) == (0, "none is sent, as --no-key says")
    desk.set(CHUNKUP_NO_KEY="1")
    desk.wire(reply({"error": {"message": "no"}}, 401))
    seen = desk.look()
    assert "the server wants a key, and none is sent" in seen["answer"].says


ODD = (
    "",
    " ",
    "x",
    "a b",
    KEY,
    f"'{KEY}",
    "\udcff",
    "\x1b[2J",
    "é" * 99,
    "env:",
    "env:NO",
    "/",
    "~",
)
SETTINGS: dict[str, tuple[str, ...]] = {
    "OPENAI_API_KEY": ODD,
    "OPENAI_BASE_URL": (
        # Never none at all: that would be OpenAI.
        *(
            "x",
            "a b",
            "\udcff",
            "http://",
            "https://[",
            "http://127.0.0.1:99999/v1",
            "http://127.0.0.1:0",
        ),
        *("https://[::1]:1/v1", "http://127.0.0.1:1", f"http://me:hunter2@127.0.0.1/{KEY}"),
    ),
    "OPENAI_ORG_ID": ODD,
    "OPENAI_CUSTOM_HEADERS": (*ODD, f"Host: {HEADER}", f"X: {HEADER}\nY", ":\n:"),
    "CHUNKUP_HEADERS": (*ODD, f"Authorization: {HEADER}", "X: env:NO", f"X: {HEADER}\n\nY: z"),
    "CHUNKUP_JOURNAL": ("\udcff", "/dev/null", "/proc/self/mem", "a" * 5000, "a/b/c"),
    "CHUNKUP_PROFILE": ("", "nobody", "azure", "\x1b[2J", "openrouter" * 99),
    "CHUNKUP_CONFIG": ("", "/dev/zero", "/dev/null", "/nowhere"),
    "SSL_CERT_FILE": ("", "/dev/null", "/nowhere", "\udcff"),
    "SSL_CERT_DIR": ("", "/nowhere", "/"),
    "OPENAI_MTLS_CLIENT_CERT_FILE": ("", "/dev/null", "/nowhere"),
    "OPENAI_MTLS_CLIENT_KEY_FILE": ("", "/nowhere"),
    "http_proxy": (
        "",
        f"http://me:{PASSWORD}@127.0.0.1:1",
        "socks5://x",
        f"{PASSWORD}",
        "http://[",
    ),
    "all_proxy": ("", f"socks5://me:{PASSWORD}@127.0.0.1:1"),
}
ANSWERS = (
    b"",
    b"\0" * 99,
    reply(LIST),
    reply({"error": KEY}, 401, {"Date": "nonsense", "x-request-id": "\x7f" * 9}),
    reply({"error": {"message": [KEY, HEADER, WHO], "code": KEY}}, 418),
    reply(f"<title>{KEY} {HEADER}</title>".encode(), 511, {"Location": "http://[" + KEY}),
    reply({"data": [{"id": KEY}]}),
    reply(b"[" * 9999),
)


@pytest.mark.parametrize("seed", range(4))
def test_nothing_that_can_be_set_or_answered_is_a_traceback_or_given_away(
    desk: Desk, seed: int
) -> None:
    chance = random.Random(seed)
    answer = b""

    async def serve(caller: Caller) -> None:
        await caller.request()
        await caller.say(answer)

    wire = desk.serve(serve)
    usual = {name: os.environ.get(name, "") for name in SETTINGS}
    for _ in range(12):
        answer = chance.choice(ANSWERS)
        chosen = chance.sample(sorted(SETTINGS), chance.randrange(4))
        # A profile that is built in leads to a host of its own, which no test may ask.
        broken = {name: chance.choice(SETTINGS[name]) for name in chosen}
        desk.set(**{**usual, "OPENAI_BASE_URL": wire.url, **broken})
        flags = chance.choice([[], ["-H", chance.choice(ODD)], ["--no-key"]])
        try:
            desk.look(*flags, "--timeout", "5")
        except BaseException as error:
            # What is printed belongs to the command here.
            error.add_note(f"seed {seed}: {flags} {broken} {answer[:40]!r}")
            raise


# --- real processes ---------------------------------------------------------------------------


async def test_a_process_ends_with_the_code_and_leaves_nothing(shell: Shell) -> None:
    done = await shell.run("doctor")
    assert (done.code, shell.house.calls) == (0, ["list"])
    assert not shell.journal.parent.exists()
    done = await shell.run("doctor", "--json", OPENAI_API_KEY="sk-other")
    assert done.code == 1
    assert json.loads(done.out.splitlines()[-1])["exit_code"] == 1
    done = await shell.run("-vv", "doctor", OPENAI_API_KEY=KEY)
    assert "DEBUG GET /files: 401" in done.err
    assert KEY not in done.out + done.err
    done = await shell.run("doctor", "--timeout", "0")
    assert (done.code, done.out) == (2, "")


async def test_ctrl_c_ends_it_at_once(shell: Shell) -> None:
    asked = asyncio.Event()

    async def intercept(*_: object) -> Any:
        asked.set()
        await asyncio.Event().wait()

    shell.house.intercept = intercept
    process = await shell.start("doctor", "--timeout", "10m")
    await asked.wait()
    process.send_signal(signal.SIGINT)
    done = await shell.end(process)
    assert done.code == 130
    assert "stopped by SIGINT" in done.err
    shell.house.intercept = None


# --- the page ---------------------------------------------------------------------------------


def mask(text: str) -> str:
    """Figures, versions and places are of the day on which they were seen."""
    text = re.sub(r"(?<=ok    chunkup).*|(?<=ok    trust).*|~?/[\w./-]+|req_\w+", " #", text)
    text = re.sub(r"\d[\d.]*( (bytes|kB|MB|GB|TB|ms|s)\b)?", "#", text)
    return "\n".join(" ".join(line.split()) for line in text.strip().splitlines())


async def test_the_page_shows_what_was_run(shell: Shell) -> None:
    (shown,) = re.findall(
        r"^```console\n\$ chunkup doctor\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL
    )
    home = shell.folder / "home"
    bare = shell.house.url.removesuffix("/v1")
    async with shell.uploader() as uploader:
        await uploader.upload(shell.folder / "a.bin", purpose="user_data")
    state = home / ".local" / "state" / "chunkup"
    state.mkdir(parents=True)
    shell.journal.rename(state / "journal.db")
    script = "unset CHUNKUP_JOURNAL SSL_CERT_FILE SSL_CERT_DIR; chunkup doctor 2>&1"
    places = {"HOME": str(home), "XDG_STATE_HOME": str(home / ".local" / "state")}
    done = await shell.paste(script, OPENAI_BASE_URL=bare, **places)
    assert mask(done.out) == mask(shown)


def test_the_page_has_every_check_in_its_order(desk: Desk) -> None:
    assert re.findall(r"^\| `([\w-]+)` \|", PAGE, re.MULTILINE) == CHECKS
    (shown,) = re.findall(r"^```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    check, summary = map(json.loads, shown.splitlines())
    desk.wire(reply(LIST))
    _, out, _ = desk.raw("--json")
    *checks, last = map(json.loads, out.splitlines())
    assert check.keys() == checks[0].keys()
    assert summary.keys() == last.keys()
