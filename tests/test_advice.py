"""Every error ends in a command that can be pasted, or says on purpose why it does not."""

import os
import shlex
from dataclasses import replace
from pathlib import Path

import click
import pytest
from test_errors import ALL

from chunkup import errors
from chunkup.cli.advice import advise, advise_by_code
from chunkup.cli.main import cli
from chunkup.cli.options import Where
from chunkup.errors import (
    BadAnswer,
    BadContent,
    BadOption,
    Busy,
    ChunkupError,
    Interrupted,
    JobEnded,
    JournalTrouble,
    NoSuchJob,
    OtherAccount,
    OutcomeUnknown,
    SourceChanged,
    Stopped,
    TooLarge,
    Unreachable,
)
from chunkup.models import Account, Fingerprint, Job, Span
from chunkup.records import CODES

URL = "https://files.example/v1"
ACCOUNT = Account(URL, key_hash="00")
WHERE = Where(
    base_url=URL,
    organization=None,
    project=None,
    allow_http=False,
    no_key=False,
    journal=Path("/state/journal.db"),
)
JOB = Job(
    id="k7f2m9",
    set_id="",
    account=ACCOUNT,
    path="/data/train.jsonl",
    span=Span(0, 1000),
    fingerprint=Fingerprint(1000, 0, 1, 1),
    purpose="batch",
    filename="train.jsonl",
    mime_type="text/jsonl",
    created_at=0.0,
)
DESTINATION = f"--base-url {URL} --journal /state/journal.db"
UPLOAD = "chunkup upload /data/train.jsonl --purpose batch"
SAID = "do something about it"

# Codes for which no command is known, each with the reason.
SENTENCES = {
    "refused": "nobody raises the branch itself",
    "bad-option": "only the person knows what was meant; with a job, it is resumed as it was",
    "no-key": "which variable a key belongs into depends on the profile, and the raise knows it",
    "plain-http": "whose network that is only the person knows",
    "no-such-file": "no command finds what was meant",
    "not-a-file": "no command finds what was meant",
    "empty-file": "whatever writes the file has to do so first",
    "unreadable": "the raise knows the path, and says the chmod itself",
    "bad-journal": "to move it aside, to update and to name another are each right for one cause",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith(("OPENAI_", "CHUNKUP_"))]:
        monkeypatch.delenv(name)
    # Whoever runs the tests may have profiles, and a job's address brings its profile in.
    profiles = tmp_path / "config.toml"
    profiles.touch()
    monkeypatch.setenv("CHUNKUP_CONFIG", str(profiles))


def parsed(command: str) -> tuple[str, dict[str, object]]:
    """A chunkup command as the real command line reads it: its name and its values."""
    program, name, *words = shlex.split(command)
    assert program == "chunkup"
    root = click.Context(cli)
    found = cli.get_command(root, name)
    assert found is not None, f"there is no chunkup {name}"
    with found.make_context(name, words, parent=root) as context:
        return name, context.params


# --- the table --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.code)
def test_every_error_of_a_job_ends_in_a_command_that_the_command_line_takes(
    kind: type[ChunkupError],
) -> None:
    command = advise(kind("what happened", hint=SAID), WHERE, JOB)
    assert command is not None
    if kind.code in SENTENCES and command == SAID:
        return
    name, values = parsed(command)
    assert JOB.id in str(values) or JOB.path in str(values) or name == "jobs"
    assert values["journal"] == Path("/state/journal.db")
    assert values.get("base_url", URL) == URL


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.code)
def test_an_id_alone_is_enough_for_a_command(kind: type[ChunkupError]) -> None:
    error = kind("what happened", hint=SAID)
    error.job_id = "k7f2m9"
    command = advise(error, WHERE)
    assert command is not None
    if kind.code in SENTENCES:
        assert command == SAID
    else:
        assert command.startswith("chunkup ")


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.code)
def test_without_a_job_the_own_sentence_stays_unless_a_command_needs_none(
    kind: type[ChunkupError],
) -> None:
    needs_none = kind in {NoSuchJob, JournalTrouble}
    command = advise(kind("what happened", hint=SAID), WHERE)
    assert (command != SAID) is needs_none
    assert (advise(kind("what happened"), WHERE) is not None) is needs_none


def test_exceptions_to_the_rule_are_codes_with_a_reason() -> None:
    assert set(SENTENCES) <= {kind.code for kind in ALL}
    assert all(SENTENCES.values())


@pytest.mark.parametrize(
    ("code", "command"),
    [
        ("error", "chunkup show k7f2m9 --journal /state/journal.db"),
        ("bad-option", f"chunkup resume k7f2m9 {DESTINATION}"),
        ("no-such-job", "chunkup jobs --journal /state/journal.db"),
        ("failed", "chunkup show k7f2m9 --journal /state/journal.db"),
        ("source-changed", f"{UPLOAD} {DESTINATION}"),
        ("source-gone", f"chunkup resume k7f2m9 --source NEW_PATH {DESTINATION}"),
        ("rejected", "chunkup show k7f2m9 --journal /state/journal.db"),
        ("unauthorized", f"chunkup resume k7f2m9 {DESTINATION}"),
        ("forbidden", f"chunkup resume k7f2m9 {DESTINATION}"),
        ("not-found", "chunkup show k7f2m9 --journal /state/journal.db"),
        ("insufficient-quota", f"chunkup resume k7f2m9 {DESTINATION}"),
        ("proxy-refused", f"chunkup resume k7f2m9 {DESTINATION}"),
        ("untrusted-certificate", f"chunkup resume k7f2m9 {DESTINATION}"),
        ("client-certificate", f"chunkup resume k7f2m9 {DESTINATION}"),
        ("bad-answer", "chunkup show k7f2m9 --journal /state/journal.db"),
        ("other-account", f"{UPLOAD} --fresh {DESTINATION}"),
        ("job-ended", f"{UPLOAD} {DESTINATION}"),
        ("too-slow", f"chunkup resume k7f2m9 {DESTINATION}"),
        ("busy", "chunkup stop k7f2m9 --journal /state/journal.db"),
        ("outcome-unknown", "chunkup show k7f2m9 --journal /state/journal.db"),
        ("stopped", f"chunkup resume k7f2m9 {DESTINATION}"),
        ("unreachable", f"chunkup resume k7f2m9 {DESTINATION}"),
        ("server-trouble", f"chunkup resume k7f2m9 {DESTINATION}"),
        ("throttled", f"chunkup resume k7f2m9 {DESTINATION}"),
        ("journal-trouble", f"chunkup resume k7f2m9 {DESTINATION}"),
        ("interrupted", f"chunkup resume k7f2m9 {DESTINATION}"),
        ("too-large", f"{UPLOAD} --split {DESTINATION}"),
        ("bad-content", f"chunkup check /data/train.jsonl --purpose batch {DESTINATION}"),
    ],
)
def test_the_command_for_each_code(code: str, command: str) -> None:
    (kind,) = (kind for kind in ALL if kind.code == code)
    assert advise(kind("what happened", hint=SAID), WHERE, JOB) == command


def test_the_list_above_has_every_code() -> None:
    marks = test_the_command_for_each_code.pytestmark  # type: ignore[attr-defined]  # set by pytest
    listed = {code for code, _ in marks[0].args[1]}
    assert listed == {kind.code for kind in ALL} - set(SENTENCES) | {"bad-option"}


# --- what a command depends on ----------------------------------------------------------------


def test_a_command_that_the_error_brings_is_kept_and_gets_the_destination() -> None:
    error = Interrupted("stopped by SIGINT", hint="chunkup resume --all")
    assert advise(error, WHERE, JOB) == f"chunkup resume --all {DESTINATION}"
    error = Interrupted("stopped by SIGINT", hint=f"chunkup resume --all {DESTINATION}")
    assert advise(error, WHERE, JOB) == error.hint
    busy = Busy("it does not let go", hint="chunkup resume k7f2m9 --takeover", job_id="k7f2m9")
    assert advise(busy, WHERE) == f"chunkup resume k7f2m9 --takeover {DESTINATION}"
    busy = Busy("it does not let go", hint="chunkup show k7f2m9", job_id="k7f2m9")
    assert advise(busy, WHERE) == "chunkup show k7f2m9 --journal /state/journal.db"


def test_a_command_with_an_address_of_its_own_gets_no_other() -> None:
    error = BadOption("not here", hint="chunkup resume k7f2m9 --base-url https://else.example/v1")
    assert advise(error, WHERE) == error.hint


def test_help_needs_no_destination() -> None:
    error = errors.Refused("what is that?", hint="chunkup upload --help")
    assert advise(error, WHERE) == error.hint


@pytest.mark.parametrize("hint", ["chunkup can't know", "chunkup", "", "'", "chunkups resume x"])
def test_a_sentence_is_not_taken_for_a_command(hint: str) -> None:
    assert advise(Stopped("later", hint=hint), WHERE) == hint
    assert advise(Stopped("later", hint=hint), WHERE, JOB) == f"chunkup resume k7f2m9 {DESTINATION}"


def test_what_the_engine_could_not_know_outdoes_its_command() -> None:
    other = replace(JOB, account=Account("https://else.example/v1", key_hash="00"))
    here = BadOption("not here", hint="chunkup resume k7f2m9 --base-url https://else.example/v1")
    assert (advise(here, WHERE, other) or "").endswith("/v1 --journal /state/journal.db")
    none = NoSuchJob("there is none", hint="chunkup jobs lists them")
    assert advise(none, WHERE) == "chunkup jobs --journal /state/journal.db"
    doubt = OutcomeUnknown(
        "?",
        candidates=("file-1; true",),
        hint="chunkup resume k7f2m9 --accept file-1; true",
        job_id="k7f2m9",
    )
    assert advise(doubt, WHERE) == f"chunkup resume k7f2m9 --accept 'file-1; true' {DESTINATION}"


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.code)
def test_advice_about_advice_is_the_same(kind: type[ChunkupError]) -> None:
    error = kind("what happened", hint=SAID)
    odd = replace(JOB, path="/data/line\nend.jsonl")
    error.hint = once = advise(error, WHERE, odd)
    assert advise(error, WHERE, odd) == once


def test_the_job_that_the_error_names_is_the_one() -> None:
    error = Unreachable("it broke", job_id="222222")
    assert advise(error, WHERE, JOB) == f"chunkup resume 222222 {DESTINATION}"


def test_a_class_without_a_row_has_its_parents() -> None:
    class Slower(errors.Throttled):
        """An error of a later version."""

        code = "slower"

    assert advise(Slower("what happened"), WHERE, JOB) == f"chunkup resume k7f2m9 {DESTINATION}"


@pytest.mark.parametrize(
    ("code", "command"),
    [
        ("source-changed", f"{UPLOAD} {DESTINATION}"),
        ("source-gone", f"chunkup resume k7f2m9 --source NEW_PATH {DESTINATION}"),
        ("unreachable", f"chunkup resume k7f2m9 {DESTINATION}"),
        ("other-account", f"{UPLOAD} --fresh {DESTINATION}"),
        ("rejected", None),
        ("busy", None),
        ("outcome-unknown", None),
        ("no-such-job", None),
        ("too-large", f"{UPLOAD} --split {DESTINATION}"),
        ("bad-content", f"chunkup check /data/train.jsonl --purpose batch {DESTINATION}"),
        ("of-a-later-version", None),
        (None, None),
    ],
)
def test_a_job_that_nobody_runs_is_advised_by_its_last_code(
    code: str | None, command: str | None
) -> None:
    assert advise_by_code(code, WHERE, JOB) == command


@pytest.mark.parametrize("code", [kind.code for kind in ALL])
def test_no_code_leads_back_to_looking(code: str) -> None:
    # Whoever asks by code is looking already.
    assert not (advise_by_code(code, WHERE, JOB) or "").startswith("chunkup show")


def test_the_first_candidate_of_a_doubt_is_offered() -> None:
    error = OutcomeUnknown("which?", candidates=("file-1", "file-2"), job_id="k7f2m9")
    accepted = f"chunkup resume k7f2m9 --accept file-1 {DESTINATION}"
    assert advise(error, WHERE) == accepted
    assert advise(error, WHERE, JOB) == accepted
    assert advise(OutcomeUnknown("which?", candidates=("file-1",), hint=SAID), WHERE) == SAID
    assert parsed(accepted)[1]["accept"] == "file-1"


def test_what_differs_from_the_defaults_is_said_and_nothing_else() -> None:
    job = replace(
        JOB,
        filename="other.jsonl",
        mime_type="text/plain",
        expires_after=7200,
        part_size=1000,
        md5=False,
    )
    command = advise(SourceChanged("it changed"), WHERE, job)
    assert command == (
        f"{UPLOAD} --filename other.jsonl --mime-type text/plain --expires-after 7200s"
        f" --part-size 1000 --no-md5 {DESTINATION}"
    )


def test_a_type_that_follows_from_the_name_is_not_said() -> None:
    job = replace(JOB, filename="notes.txt", mime_type="text/plain")
    command = advise(SourceChanged("it changed"), WHERE, job)
    assert command == f"{UPLOAD} --filename notes.txt {DESTINATION}"


def test_a_shard_is_made_anew_by_splitting() -> None:
    shard = replace(JOB, span=Span(0, 500), filename="train-00001-of-00002.jsonl")
    assert advise(JobEnded("it was cancelled"), WHERE, shard) == f"{UPLOAD} --split {DESTINATION}"


@pytest.mark.parametrize("kind", [SourceChanged, OtherAccount, JobEnded])
def test_without_the_job_an_upload_cannot_be_named_and_it_is_shown(
    kind: type[ChunkupError],
) -> None:
    error = kind("what happened")
    error.job_id = "k7f2m9"
    assert advise(error, WHERE) == "chunkup show k7f2m9 --journal /state/journal.db"


# --- too much, and not as it should be --------------------------------------------------------


def test_what_was_refused_before_there_was_a_job_is_cut_with_all_its_options() -> None:
    error = TooLarge("it is", hint="chunkup upload big.jsonl --purpose batch --split")
    assert advise(error, WHERE) == f"chunkup upload big.jsonl --purpose batch --split {DESTINATION}"
    error.wanted = replace(
        JOB, id="", given="train.jsonl", expires_after=7200, mime_type="text/plain"
    )
    assert advise(error, WHERE) == (
        "chunkup upload train.jsonl --purpose batch --mime-type text/plain --expires-after 7200s"
        f" --split {DESTINATION}"
    )


def test_a_piece_that_is_too_large_is_cut_anew() -> None:
    piece = replace(JOB, span=Span(0, 500), filename="train-00001-of-00002.jsonl")
    assert advise(TooLarge("it is"), WHERE, piece) == f"{UPLOAD} --split {DESTINATION}"


@pytest.mark.parametrize("kind", [TooLarge, BadContent])
def test_what_has_no_records_is_not_cut(kind: type[ChunkupError]) -> None:
    picture = replace(JOB, path="/data/a.png", filename="a.png", mime_type="image/png")
    error = kind("what happened", hint=SAID)
    if isinstance(error, BadContent):
        error.counts = {"file_too_large": 1}
    assert advise(error, WHERE, picture) == SAID
    error.hint = None
    assert advise(error, WHERE, picture) is None


MENDABLE = sorted(code for code, row in CODES.items() if row.mendable)
CHECK = "chunkup check /data/train.jsonl --purpose batch"


@pytest.mark.parametrize(
    ("codes", "command"),
    [
        *(((code,), f"{CHECK} --fix") for code in MENDABLE),
        (tuple(MENDABLE), f"{CHECK} --fix"),
        (("too_many_tasks",), f"{UPLOAD} --split"),
        (("too_many_inputs", "file_too_large"), f"{UPLOAD} --split"),
        (("too_many_tasks", "duplicate_custom_id"), f"{CHECK} --fix"),
        (("invalid_json_line",), CHECK),
        (("invalid_json_line", "duplicate_custom_id"), CHECK),
        (("invalid_json_line", "too_many_tasks"), CHECK),
        (("record_too_large",), CHECK),
        (("of_a_later_version",), CHECK),
        ((), CHECK),
    ],
)
def test_bad_content_is_mended_or_cut_where_that_cures_all_of_it(
    codes: tuple[str, ...], command: str
) -> None:
    error = BadContent("what was found", counts=dict.fromkeys(codes, 1))
    assert advise(error, WHERE, JOB) == f"{command} {DESTINATION}"
    parsed(f"{command} {DESTINATION}")


def test_a_check_looks_at_the_type_that_was_given() -> None:
    job = replace(JOB, mime_type="image/png")
    assert advise(BadContent("?"), WHERE, job) == f"{CHECK} --mime-type image/png {DESTINATION}"


def test_a_job_of_another_address_is_resumed_at_its_own() -> None:
    job = replace(JOB, account=Account("https://else.example/v1", project="p", key_hash="00"))
    assert advise(BadOption("not here", job_id=job.id), WHERE, job) == (
        "chunkup resume k7f2m9 --base-url https://else.example/v1 --project p"
        " --journal /state/journal.db"
    )


def test_commands_that_ask_only_the_journal_name_no_destination(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", URL)
    here = replace(WHERE, journal=None)
    assert advise(NoSuchJob("there is none"), here) == "chunkup jobs"
    assert advise(Busy("held", job_id="k7f2m9"), here) == "chunkup stop k7f2m9"
    assert advise(BadAnswer("no", job_id="k7f2m9"), here) == "chunkup show k7f2m9"
    assert advise(Stopped("later", job_id="k7f2m9"), here) == (
        f"chunkup resume k7f2m9 --base-url {URL}"
    )


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.code)
def test_no_hint_is_a_comment_or_more_than_a_line(kind: type[ChunkupError]) -> None:
    # zsh, the shell of macOS, reads "# after: ..." as four more arguments.
    command = advise(kind("what happened"), WHERE, JOB) or ""
    assert "#" not in command
    assert "\n" not in command


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.code)
def test_no_hint_holds_a_secret(kind: type[ChunkupError], monkeypatch: pytest.MonkeyPatch) -> None:
    canary = "canary-0123456789"
    monkeypatch.setenv("OPENAI_API_KEY", canary)
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", f"X-Door: {canary}")
    where = replace(WHERE, headers=(f"X-Door: {canary}", "X-Open: env:OPENAI_API_KEY"))
    assert canary not in (advise(kind("what happened", hint=SAID), where, JOB) or "")


@pytest.mark.parametrize("kind", [BadOption, errors.NoKey, errors.PlainHttp])
def test_an_address_that_was_refused_is_never_repeated(kind: type[ChunkupError]) -> None:
    where = replace(WHERE, base_url="https://me:hunter2@files.example/v1")
    assert "hunter2" not in (advise(kind("what happened", hint=SAID), where) or "")
