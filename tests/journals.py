"""Journals as tests need them: filled, read, refused."""

import asyncio
from pathlib import Path

import pytest
from strategies import plain_job

from chunkup.errors import BadJournal
from chunkup.journal import Journal
from chunkup.machine import Accepted, Created, Fact
from chunkup.models import Receipt, Span, Upload

FACTS: list[Fact] = [
    Created(Upload("upload_1", 0, 100)),
    *(
        Accepted("upload_1", Receipt(Span(at, at + 1), f"part_{at:04}", "a" * 32))
        for at in range(300)
    ),
]


async def make(path: Path) -> str:
    journal = await Journal.open(path)
    job, _ = await journal.adopt(plain_job())
    await asyncio.gather(*(journal.record(job.id, fact) for fact in FACTS))
    await journal.close()
    return job.id


def made(path: Path) -> str:
    """A journal with a job that has 300 receipts; returns the job's id."""
    return asyncio.run(make(path))


def facts(path: Path, job: str) -> list[Fact]:
    async def scenario() -> list[Fact]:
        journal = await Journal.open(path)
        try:
            return await journal.facts(job)
        finally:
            await journal.close()

    return asyncio.run(scenario())


def opened(path: Path) -> None:
    async def scenario() -> None:
        await (await Journal.open(path)).close()

    asyncio.run(scenario())


def refuses(path: Path, match: str) -> None:
    with pytest.raises(BadJournal, match=match) as caught:
        opened(path)
    assert caught.value.exit_code == 2
    assert caught.value.hint
