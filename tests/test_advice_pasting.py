"""What is advised survives the terminal and the shell, and does what it says."""

import os
import random
import shlex
import shutil
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_advice import JOB, URL, WHERE, environment, parsed
from test_cli import PART, Shell, kill_half_way, shell

from chunkup.cli.advice import advise, advise_by_code
from chunkup.cli.options import Where
from chunkup.errors import (
    BadAnswer,
    NoSuchJob,
    OtherAccount,
    OutcomeUnknown,
    SourceChanged,
    SourceGone,
    Unreachable,
)
from chunkup.journal import Journal
from chunkup.models import Job
from chunkup.source import mime_type_of
from chunkup.text import printable
from chunkup.uploader import AsyncUploader

__all__ = ["environment", "shell"]


def read_by(program: str, command: str) -> list[str]:
    """The words that a shell makes of a line."""
    # The function stands in for the program; a word can hold anything but NUL.
    script = f"chunkup() {{ printf '%s\\0' chunkup \"$@\"; }}\n{command}\n"
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"no {program} here")
    options = ["-f"] if program == "zsh" else []
    done = subprocess.run(
        [found, *options],
        input=os.fsencode(script),
        capture_output=True,
        check=True,
        env={"LC_ALL": "C.UTF-8"},
    )
    assert done.stderr == b""
    return [os.fsdecode(word) for word in done.stdout.split(b"\0")[:-1]]


NAMES = [
    "two words.jsonl",
    'it\'s "quoted".jsonl',
    "-n.jsonl",
    "--fresh",
    "größe 数据 😀.jsonl",
    "$HOME `id` $(id) !! *?[a]{b,c} \\ & | ; < > # ~",
    "~root",
    "line\nend\r.jsonl",
    "\x1b[2Jclear\x07.jsonl",
    "\u202egnp.exe",
    "bell\x07's \\ back\\slash 7",
    "caf\udce9 1.jsonl",
    "tab\there",
    "\x0777 figures behind a bell",
    " ",
]


@pytest.mark.parametrize("program", ["bash", "zsh"])
@pytest.mark.parametrize("name", NAMES)
def test_odd_names_survive_being_printed_and_pasted(name: str, program: str) -> None:
    job = replace(JOB, path=f"/data/{name}", filename=name)
    where = replace(WHERE, journal=Path(f"/state/{name}"))
    command = advise(SourceChanged("it changed"), where, job)
    assert command is not None
    assert printable(command, 2000) == command
    words = read_by(program, command)
    assert words[:5] == ["chunkup", "upload", f"/data/{name}", "--purpose", "batch"]
    assert words[-1] == f"/state/{name}"


@given(st.text(st.characters(exclude_characters="\0"), min_size=1), st.randoms())
def test_any_name_is_one_word_in_characters_that_a_terminal_shows(
    name: str, chance: random.Random
) -> None:
    # Half of them with bytes that are no text, as file systems allow.
    if chance.random() < 0.5:
        name += "\udcff"
    command = advise(SourceGone("it is gone"), replace(WHERE, journal=Path(name)), JOB)
    assert command is not None
    assert command.isprintable()


def test_a_candidate_cannot_smuggle_words_into_the_command() -> None:
    hostile = "file-1; rm -rf ~ #\n--fresh\x1b[2J"
    command = advise(OutcomeUnknown("?", candidates=(hostile,), job_id="k7f2m9"), WHERE) or ""
    assert command == printable(command, 2000)
    assert read_by("bash", command)[:5] == ["chunkup", "resume", "k7f2m9", "--accept", hostile]


def test_only_the_odd_words_of_a_command_look_odd() -> None:
    job = replace(JOB, path="/data/odd\nend.jsonl", filename="it is.jsonl")
    assert (advise(SourceChanged("it changed"), WHERE, job) or "").startswith(
        "chunkup upload $'/data/odd\\012end.jsonl' --purpose batch --filename 'it is.jsonl' --base"
    )


def test_what_is_advised_by_code_is_pasteable_too() -> None:
    job = replace(JOB, path="/data/odd\nend.jsonl", filename="odd\nend.jsonl")
    command = advise_by_code("source-changed", WHERE, job) or ""
    assert command.startswith("chunkup upload $'/data/odd\\012end.jsonl' ")


def test_half_a_character_is_no_reason_to_fail() -> None:
    error = OutcomeUnknown("?", candidates=("file-\ud800",), job_id="k7f2m9")
    assert (advise(error, WHERE) or "").isprintable()


def test_ordinary_names_keep_the_quotes_that_every_shell_reads() -> None:
    job = replace(JOB, path="/data/größe 1.jsonl", filename="größe 1.jsonl")
    assert (advise(SourceChanged("it changed"), WHERE, job) or "").startswith(
        "chunkup upload '/data/größe 1.jsonl' --purpose batch --base-url"
    )


texts = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=12)
whole_jobs = st.builds(
    replace,
    st.just(JOB),
    path=texts.map(lambda name: "/data/" + name.replace("/", "-")),
    purpose=texts,
    filename=texts,
    mime_type=texts,
    expires_after=st.none() | st.integers(3600, 2_592_000),
    part_size=st.integers(1, 64 << 20),
    md5=st.booleans(),
)


@given(whole_jobs)
def test_an_advised_upload_is_the_same_upload(job: Job) -> None:
    name, values = parsed(advise(SourceChanged("it changed"), WHERE, job) or "")
    assert name == "upload"
    assert values["paths"] == (job.path,)
    filename = values["filename"] or Path(job.path).name
    assert filename == job.filename
    assert (values["mime_type"] or mime_type_of(str(filename))) == job.mime_type
    assert values["purpose"] == job.purpose
    assert values["expires_after"] == job.expires_after
    assert values["part_size"] == job.part_size
    assert values["no_md5"] is not job.md5


# --- the commands, carried out ----------------------------------------------------------------


async def stopped_job(shell: Shell) -> tuple[Job, Where]:
    """A job that was killed half-way, and where the command that ran it went."""
    await kill_half_way(shell, signal.SIGKILL)
    path = Path(shell.environ["CHUNKUP_JOURNAL"])
    book = await Journal.open(path)
    (line,) = await book.lines()
    await book.close()
    return line.job, Where.of(line.job.account, path)


async def test_what_is_advised_for_a_stop_goes_on(shell: Shell) -> None:
    job, where = await stopped_job(shell)
    command = advise(Unreachable("it broke", job_id=job.id), where) or ""
    done = await shell.run(*shlex.split(command)[1:], OPENAI_BASE_URL="", CHUNKUP_JOURNAL="")
    assert done.code == 0, done.err
    assert f"continuing {job.id}" in done.err


async def test_what_is_advised_for_a_changed_source_sends_it_anew(shell: Shell) -> None:
    job, where = await stopped_job(shell)
    (shell.folder / "a.bin").write_bytes(b"something else")
    refused = await shell.run("resume", job.id)
    assert refused.code == 1
    command = advise(SourceChanged("it changed", between_runs=True), where, job) or ""
    done = await shell.run(*shlex.split(command)[1:], OPENAI_BASE_URL="", CHUNKUP_JOURNAL="")
    assert done.code == 0, done.err
    assert shell.house.content(done.out.strip()) == b"something else"


async def test_what_is_advised_continues_the_same_job_if_nothing_changed(shell: Shell) -> None:
    job, where = await stopped_job(shell)
    command = advise(SourceChanged("it changed"), where, job) or ""
    assert f"--part-size {PART}" in command
    done = await shell.run(*shlex.split(command)[1:], OPENAI_BASE_URL="", CHUNKUP_JOURNAL="")
    assert done.code == 0, done.err
    assert f"continuing {job.id}" in done.err


async def test_what_is_advised_under_another_account_starts_there(shell: Shell) -> None:
    job, where = await stopped_job(shell)
    command = advise(OtherAccount("not yours", job_id=job.id), where, job) or ""
    done = await shell.run(
        *shlex.split(command)[1:], OPENAI_API_KEY=shell.environ["OPENAI_API_KEY"]
    )
    assert done.code == 0, done.err
    assert "continuing" not in done.err


async def test_what_is_advised_to_look_at_can_be_looked_at(shell: Shell) -> None:
    job, where = await stopped_job(shell)
    for error in (NoSuchJob("there is none"), BadAnswer("no", job_id=job.id)):
        command = advise(error, where) or ""
        done = await shell.run(*shlex.split(command)[1:], CHUNKUP_JOURNAL="")
        assert done.code == 0, done.err
        assert job.id in done.out


def test_an_uploader_reads_the_advised_content_as_the_same_job(tmp_path: Path) -> None:
    real = tmp_path / "data of mine.jsonl"
    real.write_bytes(b"x" * 10)
    (tmp_path / "link.jsonl").symlink_to(real)
    uploader = AsyncUploader(base_url=URL, api_key="k", journal=tmp_path / "j.db", part_size=5)
    job, _ = uploader.plan(tmp_path / "link.jsonl", purpose="batch", expires_after=3600)
    _, values = parsed(advise(SourceChanged("it changed"), WHERE, job) or "")
    again, _ = uploader.plan(
        values["paths"][0],  # type: ignore[index]  # click promises a tuple
        purpose=str(values["purpose"]),
        filename=values["filename"],  # type: ignore[arg-type]  # the same
        mime_type=values["mime_type"],  # type: ignore[arg-type]  # the same
        expires_after=round(float(str(values["expires_after"]))),
    )
    assert again.identity == job.identity
