"""What holds at the end of every command, whatever happened to it: the laws of :mod:`chaos`.

They read the journal as a file and the server by its own eyes, and believe nobody's word.
"""

import asyncio
import hashlib
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chunkup.journal import JobLine, Journal
from chunkup.machine import OPEN

if TYPE_CHECKING:
    from chaos import Order, World


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Started:
    """A command, and the losses that had been counted when it began."""

    words: tuple[str, ...]
    order: "Order"
    calm: bool
    losses: int


@dataclass(frozen=True)
class Before:
    """What the world was like: bytes of parts the server held, and what was still to be sent."""

    stored: int
    missing: int
    uploads: frozenset[str]


@dataclass
class Law:
    """What was once seen and has to stay."""

    receipts: dict[tuple[str, int, int], str] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)


def rows(journal: Path, question: str) -> list[tuple[Any, ...]]:
    """What the journal's file says to any program, which rolls back what a kill left half-done."""
    if not journal.exists() or journal.stat().st_size == 0:
        return []
    with closing(sqlite3.connect(f"file:{journal}?mode=rw", uri=True)) as db:
        try:
            return db.execute(question).fetchall()
        except sqlite3.OperationalError as error:
            # It was killed before its tables were made.
            if "no such table" in str(error) or "unable to open" in str(error):
                return []
            raise


def open_jobs(journal: Path) -> list[str]:
    try:
        return [
            job
            for (job,) in rows(
                journal,
                "SELECT id FROM jobs LEFT JOIN endings ON id = job_id WHERE kind IS NULL"
                " ORDER BY created_at",
            )
        ]
    except sqlite3.OperationalError:
        return []  # somebody is writing


def stored(world: "World") -> dict[str, int]:
    """Bytes of the parts that each Upload ever took in, by Upload."""
    uploads = world.server.uploads
    return {
        upload_id: sum(part.bytes for part in upload.parts) for upload_id, upload in uploads.items()
    }


def _missing(world: "World") -> int:
    """What the open jobs still have to send, where their Upload lives."""
    living = {
        upload_id
        for upload_id, upload in world.server.uploads.items()
        if upload.status in {"pending", "completed"}
    }
    found = rows(
        world.journal,
        "SELECT jobs.stop - jobs.start, uploads.id,"
        " (SELECT sum(parts.stop - parts.start) FROM parts"
        "  WHERE parts.job_id = jobs.id AND parts.generation = uploads.generation)"
        " FROM jobs JOIN uploads ON uploads.job_id = jobs.id"
        " LEFT JOIN endings ON endings.job_id = jobs.id"
        " WHERE kind IS NULL AND ended IS NULL",
    )
    return sum(size - (done or 0) for size, upload, done in found if upload in living)


def before(world: "World") -> Before:
    uploads = stored(world)
    return Before(sum(uploads.values()), _missing(world), frozenset(uploads))


def check(world: "World", past: Before, started: Started, ended: Ended) -> None:
    """Hold the world to all laws; nobody runs any more."""
    _the_journal_is_whole(world)
    lines = asyncio.run(nobody_holds_a_job(world))
    _every_file_is_one_version(world)
    _every_file_is_one_jobs(world, lines)
    _what_was_said_stays(world, lines)
    _receipts_are_proven(world)
    _little_travels_twice(world, past, started)
    _the_code_says_it(world, started, ended)


def _the_journal_is_whole(world: "World") -> None:
    for (said,) in rows(world.journal, "PRAGMA integrity_check"):
        assert said == "ok", said


async def nobody_holds_a_job(world: "World") -> list[JobLine]:
    """All jobs fold, and each open one can be claimed now that nobody lives."""
    if not world.journal.exists():
        return []
    journal = await Journal.open(world.journal)
    try:
        lines = await journal.lines()
        for line in lines:
            if line.phase in OPEN:
                await journal.reserve([line.job.id])
                assert not journal.holder_lives(line), line
        await journal.unreserve([line.job.id for line in lines if line.phase in OPEN])
        return lines
    finally:
        await journal.close()


def _every_file_is_one_version(world: "World") -> None:
    """No File mixes two versions of its source: a piece is a stretch of one of them."""
    known = world.law.ids
    for file_id, file in world.server.files.items():
        if file_id in known:
            continue
        content = file.read()
        assert any(
            content == version or (name.endswith(".jsonl") and _is_piece(content, version))
            for name, versions in world.versions.items()
            for version, _ in versions
        ), f"{file_id} ({file.filename}, {file.bytes} bytes) is no version of anything"
        known[file_id] = hashlib.md5(content).hexdigest()


def _is_piece(content: bytes, version: bytes) -> bool:
    at = version.find(content)
    starts = at == 0 or (at > 0 and version[at - 1 : at] == b"\n")
    return starts and content.endswith(b"\n")


def _every_file_is_one_jobs(world: "World", lines: list[JobLine]) -> None:
    """No job made two Files: each is the ending of one job, or may become that of one."""
    ended = [line for line in lines if line.file_id is not None and not line.reused]
    ids = [line.file_id for line in ended]
    assert len(set(ids)) == len(ids), ids
    files = dict(world.server.files)
    for line in ended:
        assert line.file_id in files, f"{line.job.id} ended in {line.file_id}, which is not there"
        assert files[line.file_id].bytes == line.job.size
    asked = {
        job
        for (job,) in rows(
            world.journal,
            "SELECT DISTINCT asks.job_id FROM asks LEFT JOIN endings"
            " ON endings.job_id = asks.job_id WHERE file_id IS NULL",
        )
    }
    waiting = Counter((line.job.filename, line.job.size) for line in lines if line.job.id in asked)
    for file_id in files.keys() - set(ids):
        file = files[file_id]
        which = (file.filename, file.bytes)
        assert waiting[which] > 0, f"{file_id} ({which}) is nobody's: a second File"
        waiting[which] -= 1


def _what_was_said_stays(world: "World", lines: list[JobLine]) -> None:
    """An id that was printed is an ending, and a receipt or an ending is never forgotten."""
    ended = {line.file_id for line in lines}
    assert world.printed <= ended, f"printed and forgotten: {world.printed - ended}"
    now = {
        (job, generation, start): part
        for job, generation, start, part in rows(
            world.journal, "SELECT job_id, generation, start, part_id FROM parts"
        )
    }
    for key, part in world.law.receipts.items():
        assert now.get(key) == part, f"the receipt {part} of {key} is gone"
    world.law.receipts = now


def _receipts_are_proven(world: "World") -> None:
    """Each receipt names a part that the server holds, of this Upload, length and content."""
    garbled = sum(strike.fault.garble for strike in world.server.strikes)
    held = {
        (upload_id, part.id): part
        for upload_id, upload in world.server.uploads.items()
        for part in upload.parts
    }
    differ = 0
    for upload, part, size, xxh3 in rows(
        world.journal,
        "SELECT uploads.id, part_id, stop - start, xxh3 FROM parts JOIN uploads"
        " ON uploads.job_id = parts.job_id AND uploads.generation = parts.generation",
    ):
        assert (upload, part) in held, f"a receipt for {part}, which the server never gave"
        assert held[upload, part].bytes == size
        differ += held[upload, part].xxh3 != xxh3
    assert differ <= garbled, f"{differ} receipts for other content, {garbled} were garbled"


def _little_travels_twice(world: "World", past: Before, started: Started) -> None:
    """What was sent is what had no receipt, and what was in flight at each blow."""
    from chaos import LARGEST_PART  # noqa: PLC0415  (they know each other)

    uploads = world.server.uploads
    new = sum(upload.bytes for name, upload in uploads.items() if name not in past.uploads)
    sent = sum(stored(world).values()) - past.stored
    lost = (world.losses - started.losses) * 16 * LARGEST_PART
    assert sent <= past.missing + new + lost, (sent, past, new, lost)


def _the_code_says_it(world: "World", started: Started, ended: Ended) -> None:
    if not started.calm:
        return
    gone = [name for name in started.order.sources if not (world.here / name).exists()]
    said = ended.code
    if said == 0 and started.words[0] == "upload":
        check_arrived(world, started.order, ended)
    elif said == 3:
        raise AssertionError(f"nobody lives, and still: {ended.err}")
    elif said == 4:
        assert doubted(world.journal), ended.err
    elif said == 2:
        assert gone, ended.err
    elif said == 75:
        assert "--max-time" in ended.err, ended.err


def check_arrived(world: "World", order: "Order", ended: Ended) -> None:
    """The ids that were printed are Files of what the sources are now."""
    ids = [line.partition("\t")[0] for line in ended.out.splitlines()]
    contents = [world.server.files[file_id].read() for file_id in ids]
    if "--split-size" in order.flags:
        contents = [b"".join(contents)]
    assert len(contents) == len(order.sources), ended.out
    for name, content in zip(order.sources, contents, strict=True):
        # An edit that keeps size and time shows to nobody who does not read the file.
        size, mtime_ns = len(world.versions[name][-1][0]), world.versions[name][-1][1]
        meant = {
            version
            for version, time_ns in world.versions[name]
            if (len(version), time_ns) == (size, mtime_ns)
        }
        assert content in meant, f"{name} is not what was uploaded as {ids}"


def doubted(journal: Path) -> list[str]:
    """Jobs about which a person has to decide."""
    return [
        job
        for (job,) in rows(
            journal,
            "SELECT DISTINCT uploads.job_id FROM uploads LEFT JOIN endings"
            " ON endings.job_id = uploads.job_id WHERE doubted = 1 AND kind IS NULL",
        )
    ]


def file_of(world: "World", job: str) -> str | None:
    """The File that a job in doubt made after all, as a person finds it."""
    ((filename, size),) = rows(
        world.journal, f"SELECT filename, stop - start FROM jobs WHERE id = '{job}'"
    )
    ended = {found for (found,) in rows(world.journal, "SELECT file_id FROM endings")}
    for file_id, file in world.server.files.items():
        if (file.filename, file.bytes) == (filename, size) and file_id not in ended:
            return file_id
    return None
