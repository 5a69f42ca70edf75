"""What a command or a call asks for, as a dataset: looked at, checked and cut before it begins.

All files are looked at before any is read, and all that are to be cut are read before anything is
sent: how many pieces a file has is part of their names. A file that is not to be cut is checked
just before it begins, so that the first of ten thousand does not wait for the last; if it is the
only one, before its job is made, so that a refusal leaves nothing behind.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from chunkup.checking import examine, refusal
from chunkup.dataset import Dataset, Member
from chunkup.engine import Engine
from chunkup.errors import BadContent, BadOption
from chunkup.intake import Content, in_one_request, pieces_of
from chunkup.journal import Habits
from chunkup.ledger import Emit
from chunkup.manifest import Manifest
from chunkup.models import Job, Split
from chunkup.planner import LIFE, piece_limits
from chunkup.spool import STANDARD_INPUT, filename_for
from chunkup.text import printable

# Seconds for which it is believed that a link carries what it carried the last time.
_LATELY: Final = 86400.0
_RECORDS: Final = (".jsonl", ".ndjson")

# Hears of a file, how many of its bytes are read, and None once it is read.
Reading = Callable[[Job, int | None], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How files are sent, beyond what each of them shall be.

    Attributes:
        fresh: End what is unfinished of them and start over.
        processed: A result waits until the server is through with its File.
        check: Check the content before it is sent.
        split: Cut each file between its records, one File a piece.
        manifest: Where to write down what arrived.
        skip_existing: Send nothing that is there already.
        fail_fast: The first that fails stops the others.
    """

    fresh: bool = False
    processed: bool = False
    check: bool = True
    split: Split | None = None
    manifest: Path | None = None
    skip_existing: bool = False
    fail_fast: bool = False


PLAIN: Final = Manner()


@dataclass(frozen=True, slots=True)
class Cut:
    """How a file was cut, for whoever wants to say so: ``job`` is that of the whole."""

    job: Job
    pieces: Sequence[Job]
    kept_back: BadContent | None = None


async def asked_for(  # noqa: PLR0913  (what is asked for, and who hears of it)
    engine: Engine,
    paths: Sequence[str],
    content: Content,
    manner: Manner = PLAIN,
    *,
    emit: Emit = lambda _: None,
    reading: Reading | None = None,
    on_cut: Callable[[Cut], None] = lambda _: None,
    standard_input: str | None = None,
) -> Dataset:
    """The files that a command names, as a dataset; ``standard_input`` is that one of them.

    Raises:
        Refused: One of them cannot be uploaded; nothing was sent, and nothing is left behind.
    """
    manifest = await _prepared(manner.manifest)
    # What a command said is not the name of what was kept for it.
    kept = replace(content, filename=content.filename or filename_for(content.purpose))
    whole = [
        replace(engine.describe(path, kept, manner.split)[0], given=STANDARD_INPUT)
        if path == standard_input
        else engine.describe(path, content, manner.split)[0]
        for path in paths
    ]
    account = await engine.account()
    whole = [replace(job, account=account, check=manner.check) for job in whole]
    if manner.split is not None:
        cuts = [
            await _cut(engine, job, manner, alone=len(whole) == 1, emit=emit, reading=reading)
            for job in whole
        ]
        for cut in cuts:
            on_cut(cut)
        wanted = [job for cut in cuts for job in cut.pieces]
        kept_back = {cut.job.identity: cut.kept_back for cut in cuts if cut.kept_back is not None}
    else:
        wanted, kept_back = whole, {}
        if len(whole) == 1:
            wanted = [await _checked(engine, whole[0], emit, reading)]
    adopted = await engine.adopt(wanted, fresh=manner.fresh, emit=emit)
    if manifest is not None or manner.skip_existing:
        habits = Habits(manifest, manner.skip_existing)
        await (await engine.journal()).keep_habits({one.job.set_id for one in adopted}, habits)
    members = [
        Member(
            member,
            job.filename if job.cut else job.given or job.path,
            job,
            kept_back=kept_back.get(job.identity),
        )
        for member, job in zip(adopted, wanted, strict=True)
    ]
    return Dataset(
        engine,
        members,
        processed=manner.processed,
        fail_fast=manner.fail_fast,
    )


async def _prepared(path: Path | None) -> str | None:
    """Where the manifest is, once it is seen that it can be written.

    Raises:
        BadOption: It cannot, or something else is there.
    """
    if path is None:
        return None
    manifest = Manifest(path)
    await manifest.prepare()
    return os.fspath(manifest.path)


async def _checked(engine: Engine, job: Job, emit: Emit, reading: Reading | None) -> Job:
    """The only job of a command, once its content is known to be good.

    Raises:
        BadContent: It is not.
    """
    before = await (await engine.journal()).seen_before(job)
    if before is not None and not before.cut:
        return replace(job, check=False, first_line=before.first_line, lines=before.lines)
    if not job.check or before is not None:
        return replace(job, check=False)
    provider = engine.endpoint.provider
    report = await examine(job, provider, emit, progress=_teller(job, reading))
    _done(job, reading)
    error = refusal(job, report)
    if error is not None:
        raise error
    first = None if report.lines is None else 1
    return replace(job, check=False, first_line=first, lines=report.lines)


async def _cut(  # noqa: PLR0913  (one file's cut, and who hears of it)
    engine: Engine,
    job: Job,
    manner: Manner,
    *,
    alone: bool,
    emit: Emit,
    reading: Reading | None,
) -> Cut:
    """Where a file is cut: alike, as long as pieces of an earlier cut are open.

    Raises:
        BadOption: It cannot be cut.
        BadContent: It must not be sent as it is, and is the only one.
    """
    journal, wish = await engine.journal(), manner.split or Split()
    rate = await _carried(engine)
    before = None if manner.fresh or wish != Split() else await journal.cut_before(job)
    if before is not None and rate is not None and (before.size or 0) > rate * LIFE:
        before = None  # as it was cut, it would never arrive
    split = before or limits_of(engine, job, wish, rate=rate)
    job = replace(job, check=job.check and await journal.seen_before(job) is None)
    cut = await cut_up(engine, job, split, emit=emit, reading=reading)
    if cut.kept_back is not None:
        if alone:
            raise cut.kept_back
        cut.kept_back.exit_code = 1  # the others go, so this refuses not all that was asked for
    return cut


def limits_of(engine: Engine, job: Job, wish: Split, *, rate: float | None = None) -> Split:
    """How large the pieces of a file may be.

    Raises:
        BadOption: It cannot be cut, or not so.
    """
    if not job.filename.lower().endswith(_RECORDS):
        raise BadOption(
            f"{printable(job.given or job.path)} cannot be cut between records: only JSON Lines "
            "have such",
            hint="leave --split away, or name the File with --filename NAME.jsonl",
        )
    provider = engine.endpoint.provider
    single = in_one_request(job.method, provider)
    return piece_limits(wish, job.purpose, provider.limits, single=single, rate=rate)


async def cut_up(
    engine: Engine, job: Job, split: Split, *, emit: Emit, reading: Reading | None
) -> Cut:
    """Read a file once, and find where it is cut by these limits; writes and sends nothing."""
    report = await examine(
        job,
        engine.endpoint.provider,
        emit,
        check=job.check,
        split=split,
        progress=_teller(job, reading),
    )
    _done(job, reading)
    job = replace(job, split=split, check=False)
    error = refusal(job, report)
    return Cut(job, [job] if error is not None else pieces_of(job, report.pieces), error)


async def _carried(engine: Engine) -> float | None:
    """What the link is known to carry, in bytes a second."""
    known = await (await engine.journal()).rate(engine.endpoint.base_url, _LATELY)
    limit = engine.options.limit_rate
    return min((rate for rate in (known, limit) if rate is not None), default=None)


def _teller(job: Job, reading: Reading | None) -> Callable[[int], None] | None:
    return None if reading is None else lambda at: reading(job, at)


def _done(job: Job, reading: Reading | None) -> None:
    if reading is not None:
        reading(job, None)
