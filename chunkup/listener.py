"""Events on their way out: to a listener that cannot break the upload, and to the log."""

import logging
import time
from collections.abc import Callable

from chunkup import events
from chunkup.errors import Busy, ChunkupError, Interrupted, OutcomeUnknown, Stopped
from chunkup.ledger import Emit
from chunkup.models import Job, RemoteFile

log = logging.getLogger("chunkup")
log.addHandler(logging.NullHandler())

OnEvent = Callable[[events.Event], None]


def tell_end(job: Job, error: ChunkupError, emit: Emit) -> None:
    """Emit the event that an error which ends a run is."""
    stamp = {"time": time.time(), "job": job.id, "path": job.shown}
    said = {
        "code": error.code,
        "message": error.message,
        "hint": error.hint,
        "resume": f"chunkup resume {job.id}",
    }
    if isinstance(error, OutcomeUnknown):
        emit(events.Unknown(**stamp, **said, candidates=error.candidates))  # type: ignore[arg-type]  # a dict knows one type for all its values
    elif isinstance(error, Stopped | Busy):
        emit(events.Stopped(**stamp, **said))  # type: ignore[arg-type]  # the same
    else:
        emit(events.Failed(**stamp, **said))  # type: ignore[arg-type]  # the same


def tell_stop(job: Job, emit: Emit) -> None:
    """Emit the event that an interruption of a run is."""
    emit(
        events.Stopped(
            time=time.time(),
            job=job.id,
            path=job.shown,
            code=Interrupted.code,
            message="interrupted; what was accepted is kept",
            hint=None,
            resume=f"chunkup resume {job.id}",
        )
    )


def tell_outdated(job: Job, lost: int, emit: Emit, why: str = "the file changed since") -> None:
    """Emit that what was sent of a job is of no use."""
    emit(
        events.UploadExpired(
            time=time.time(),
            job=job.id,
            path=job.shown,
            upload_id="",
            reason=why,
            lost=lost,
        )
    )


def tell_reused(job: Job, file: RemoteFile, emit: Emit) -> None:
    """Emit that a File of an earlier run counts as done."""
    emit(
        events.Completed(
            time=time.time(), job=job.id, path=job.shown, file=file, recovered=False, reused=True
        )
    )


def careful(on_event: OnEvent | None) -> Emit:
    """A listener that cannot break the upload: one that raises is dropped, and said so once."""
    listener = on_event

    def emit(event: events.Event) -> None:
        nonlocal listener
        _say(event)
        if listener is None:
            return
        try:
            listener(event)
        except Exception:
            log.exception("on_event raised and is not called again")
            listener = None

    return emit


def _say(event: events.Event) -> None:
    match event:
        case events.PartRetried(code=code, message=message, wait=wait):
            log.warning("%s: retrying in %.1f s: %s %s", event.job, wait, code, message)
        case events.Paused(wait=0, message=message):
            log.warning("%s: %s", event.job, message)
        case events.Paused(wait=wait, message=message):
            log.warning("%s: pausing %.1f s: %s", event.job, wait, message)
        case events.Late(rate=rate):
            log.warning("%s: at %.0f bytes/s the Upload expires before its end", event.job, rate)
        case events.UploadExpired(upload_id=upload_id, reason=reason):
            log.warning("%s: Upload %s is over: %s", event.job, upload_id, reason)
        case events.Completed(file=file):
            log.info("%s: completed as %s", event.job, file.id)
        case events.Failed(code=code, message=message) | events.Unknown(code=code, message=message):
            log.info("%s: ended: %s %s", event.job, code, message)
        case events.Stopped(code=code, message=message):
            log.info("%s: stopped: %s %s", event.job, code, message)
        case _:
            pass
