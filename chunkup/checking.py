"""The check of a job's content before anything of it is sent."""

import shlex
import time
from collections.abc import Callable
from dataclasses import replace

from chunkup import events
from chunkup.errors import BadContent
from chunkup.ledger import Emit, Ledger
from chunkup.machine import Failed, Phase
from chunkup.models import Job, Split
from chunkup.preflight import Report, Wish, survey
from chunkup.providers import Provider
from chunkup.source import looked
from chunkup.spool import STANDARD_INPUT


async def examine(  # noqa: PLR0913  (what is looked at, for what, and who hears of it)
    job: Job,
    provider: Provider,
    emit: Emit,
    *,
    check: bool = True,
    split: Split | None = None,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Read a job's file once: check its records, and find where it may be cut.

    The first findings are told as events; ``progress`` hears how many bytes are read.

    Raises:
        SourceChanged: Somebody writes to it.
        SourceGone: It cannot be read any more.
    """
    wish = Wish(
        purpose=job.purpose,
        filename=job.filename,
        mime_type=job.mime_type,
        limits=provider.limits,
        provider=provider,
        check=check,
        split=split,
    )
    report = await survey(job.path, job.fingerprint, wish, progress=progress)
    for found in report.findings:
        emit(
            events.Finding(
                time=time.time(),
                job=job.id,
                path=job.shown,
                code=found.code,
                message=found.message,
                line=found.line,
                offset=found.offset,
                level="error" if found.error else "warning",
            )
        )
    return report


def refusal(job: Job, report: Report) -> BadContent | None:
    """What the check has against a file; None if nothing keeps it from being sent."""
    if not report.errors:
        return None
    counts = {code: count for (code, error), count in report.counts.items() if error}
    said = ", ".join(f"{count} {code}" for code, count in counts.items())
    name = job.given or job.path
    error = BadContent(
        f"{name} would be refused later: {said}; nothing of it was sent",
        hint="write it to a file, and mend that"
        if name == STANDARD_INPUT
        else shlex.join(["chunkup", "check", name, "--purpose", job.purpose]),
        findings=report.findings,
        counts=counts,
    )
    error.wanted = job
    return error


async def check_before(ledger: Ledger, provider: Provider) -> None:
    """Check a claimed job that has not begun, if that is still to be done.

    Raises:
        BadContent: It must not be sent as it is; the job has ended.
        SourceChanged: Somebody writes to it.
        SourceGone: It is not there any more.
    """
    job = ledger.job
    if not job.check or ledger.state.phase is not Phase.NEW or ledger.state.generation:
        return
    found = await looked(job.path)
    if found.size != job.fingerprint.size:
        return  # it is another file by now, which is for the proof to say
    report = await examine(replace(job, fingerprint=found), provider, ledger.emit)
    error = refusal(job, report)
    if error is not None:
        # Others of its command go on, so that this is no refusal of all that was asked for.
        error.exit_code = 1
        await ledger.record(Failed(error.code, error.message))
        raise error
    await ledger.checked(report.lines)
