"""The check of a job: what is told of it, what keeps a file back, and when it is left away."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from house import House
from many import silent, working

from chunkup import events
from chunkup.checking import check_before, examine, refusal
from chunkup.engine import Engine
from chunkup.errors import BadContent
from chunkup.intake import Content
from chunkup.ledger import Claim, Ledger
from chunkup.machine import Phase
from chunkup.models import Job, Split
from chunkup.providers import OPENAI

GOOD = {"custom_id": "a", "method": "POST", "url": "/v1/responses", "body": {"model": "m"}}


def write(path: Path, *records: object) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


def job_of(engine: Engine, path: str) -> Job:
    return engine.describe(path, Content("batch"))[0]


async def claimed(engine: Engine, job: Job) -> tuple[Job, Phase, BadContent | None]:
    """What becomes of an adopted job, and its end, if it is checked now."""
    (adopted,) = await engine.adopt([job])
    journal = await engine.journal()
    ledger, error = Ledger(adopted.job, journal, silent), None
    async with Claim(journal, adopted.job, "test"):
        await ledger.load()
        try:
            await check_before(ledger, OPENAI)
        except BadContent as raised:
            error = raised
    line = await journal.line(adopted.job.id)
    return line.job, line.phase, error


async def test_findings_are_told_with_the_job_they_are_about(
    house: House, journal: Path, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.jsonl", GOOD, {**GOOD, "method": "GET"}, GOOD)
    seen: list[events.Event] = []
    async with working(house, journal) as engine:
        job = replace(job_of(engine, path), id="k7f2m9")
        report = await examine(job, OPENAI, seen.append)
    told = [event for event in seen if isinstance(event, events.Finding)]
    assert [(one.code, one.line, one.level) for one in told] == [
        ("duplicate_custom_id", 2, "error"),
        ("invalid_method", 2, "error"),
        ("duplicate_custom_id", 3, "error"),
    ]
    assert {(one.job, one.path) for one in told} == {("k7f2m9", path)}
    error = refusal(job, report)
    assert error is not None
    assert error.counts == {"duplicate_custom_id": 2, "invalid_method": 1}
    assert len(error.findings) == 3


async def test_warnings_alone_keep_nothing_back(
    house: House, journal: Path, tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(GOOD) + "\n\n")
    async with working(house, journal) as engine:
        report = await examine(job_of(engine, str(path)), OPENAI, silent)
        assert report.warnings == 1
        assert refusal(job_of(engine, str(path)), report) is None


async def test_pieces_come_without_a_check_as_well(
    house: House, journal: Path, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.jsonl", *[GOOD] * 5)
    async with working(house, journal) as engine:
        job = job_of(engine, path)
        report = await examine(job, OPENAI, silent, check=False, split=Split(lines=2))
    assert report.errors == 0
    assert [piece.lines for piece in report.pieces] == [2, 2, 1]


async def test_a_good_file_is_checked_once_and_its_lines_are_known(
    house: House, journal: Path, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.jsonl", GOOD)
    async with working(house, journal) as engine:
        job, phase, error = await claimed(engine, replace(job_of(engine, path), check=True))
    assert (phase, error) == (Phase.NEW, None)
    assert (job.check, job.first_line, job.lines) == (False, 1, 1)


async def test_a_bad_one_ends_its_job_and_others_are_not_refused_with_it(
    house: House, journal: Path, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.jsonl", GOOD, GOOD)
    async with working(house, journal) as engine:
        _, phase, error = await claimed(engine, replace(job_of(engine, path), check=True))
    assert phase is Phase.FAILED
    assert error is not None
    assert error.exit_code == 1


@pytest.mark.parametrize("why", ["not wished", "of another size"])
async def test_what_is_not_to_be_checked_is_not_read(
    house: House, journal: Path, tmp_path: Path, why: str
) -> None:
    path = write(tmp_path / "a.jsonl", GOOD, GOOD)
    async with working(house, journal) as engine:
        job = replace(job_of(engine, path), check=why != "not wished")
        if why == "of another size":
            write(Path(path), GOOD, GOOD, GOOD)  # which the proof refuses by itself
        _, phase, error = await claimed(engine, job)
    assert (phase, error) == (Phase.NEW, None)


async def test_a_mere_touch_is_no_change(house: House, journal: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", GOOD)
    async with working(house, journal) as engine:
        job = replace(job_of(engine, path), check=True)
        os.utime(path, ns=(1, 1))
        job, _, error = await claimed(engine, job)
    assert error is None
    assert not job.check
