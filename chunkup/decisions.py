"""What a person decides about a job, where the program must not."""

from chunkup import events
from chunkup.errors import BadOption, ChunkupError, JobEnded, OutcomeUnknown
from chunkup.finalizer import Finalizer, surely_not_done
from chunkup.ledger import Ledger
from chunkup.link import Link, Workshop
from chunkup.machine import (
    SINGLE,
    Cancelled,
    Completed,
    Create,
    Finish,
    GenerationEnded,
    Phase,
    Settle,
    next_action,
)
from chunkup.models import RemoteFile
from chunkup.proof import Proof


async def accept(ledger: Ledger, shop: Workshop, file_id: str) -> RemoteFile:
    """Take a File for the one that a claimed job in doubt became, after checking it.

    Raises:
        BadOption: The job is not in doubt, or the File cannot be the one.
        ChunkupError: The server could not be asked; the job is as it was.
    """
    await ledger.load()
    _in_doubt(ledger, "--accept")
    file = await _finalizer(ledger, shop).search.named(file_id)
    await ledger.record(Completed(file, recovered=True))
    ledger.tell(events.Completed, file=file, recovered=True)
    return file


async def give_up(ledger: Ledger, shop: Workshop) -> None:
    """Let go of the Upload of a claimed job in doubt, so that the next run opens another.

    A File of it may exist or yet appear: that is what the person takes on.

    Raises:
        BadOption: The job is not in doubt.
        ChunkupError: The server could not be asked; the job is as it was.
    """
    await ledger.load()
    _in_doubt(ledger, "--again")
    upload = ledger.state.upload
    if upload is None:
        await ledger.record(GenerationEnded(SINGLE, "given up"))
        return
    try:
        # If it was never completed, no second File can come of it after this.
        await _finalizer(ledger, shop).cancel()
    except ChunkupError as error:
        # Nobody who could answer was asked, or the key was refused: then it may yet be completed.
        if error.exit_code != 1 or surely_not_done(error):
            raise
    lost = ledger.state.done
    await ledger.record(GenerationEnded(upload.id, "given up"))
    ledger.tell(events.UploadExpired, upload_id=upload.id, reason="given up", lost=lost)


def _in_doubt(ledger: Ledger, flag: str) -> None:
    if ledger.state.phase is not Phase.ASKED:
        raise BadOption(
            f"job {ledger.job.id} is not in doubt, so {flag} has nothing to decide",
            hint=f"chunkup resume {ledger.job.id}",
            job_id=ledger.job.id,
        )


def _finalizer(ledger: Ledger, shop: Workshop) -> Finalizer:
    return Link(ledger, shop, Proof(ledger.job, shop.slots)).finalizer


async def cancel(ledger: Ledger, shop: Workshop) -> RemoteFile | None:
    """End a claimed job here and on the server; the File if it turns out to exist already.

    Raises:
        ChunkupError: The server could not be asked; the job is as it was.
    """
    await ledger.load()
    state = ledger.state
    finalizer = _finalizer(ledger, shop)
    match next_action(state, now=0.0):
        case Finish(file, failure):
            if file is None and failure is not None:
                raise JobEnded(f"job {ledger.job.id} failed already: {failure.message}")
            return file
        case Settle(ask):
            found = await finalizer.search.find(*ask.moments, ended=ask.single)
            if found:
                return await _keep(ledger, found)
            # Of a single request there is nothing on the server that could be cancelled.
            if not ask.single and not await finalizer.cancel():
                raise OutcomeUnknown(
                    "the server says that the Upload has ended, and no File of it is listed",
                    hint=f"look again later with: chunkup resume {ledger.job.id}",
                )
        case Create():
            pass
        case _:
            await finalizer.cancel()
    await ledger.record(Cancelled())
    return None


async def _keep(ledger: Ledger, found: list[RemoteFile]) -> RemoteFile:
    if len(found) > 1:
        ids = tuple(file.id for file in reversed(found))
        raise OutcomeUnknown(
            f"the upload may have become one of these Files: {', '.join(ids)}",
            candidates=ids,
            hint="compare them; nothing was cancelled",
        )
    await ledger.record(Completed(found[0], recovered=True))
    return found[0]
