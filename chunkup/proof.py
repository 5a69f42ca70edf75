"""Whether what the server holds is what the file is.

For every part there are two digests: of the bytes that went out, in its receipt, and of the
bytes that the ordered pass read. ``complete`` may be asked only if both agree for all parts
and the file never moved meanwhile. Then the MD5 of the pass is the MD5 of what was sent, even
if somebody wrote to the file in between.

Between runs only the size decides at once. A modification time that moved makes every receipt
a suspect that must be proven before anything is sent; an inode or device that moved, as after
a remount, lets the proof run beside the sending.

Within a run a modification time that was put back is a suspicion too: it shows in the time at
which the file was touched, which nobody can put back. Then all of it is read once more, while
nobody touches it.
"""

from collections.abc import Iterable
from typing import Final

from chunkup.errors import SourceChanged
from chunkup.machine import CompleteAsked, State
from chunkup.models import Fingerprint, Job, Receipt, Source, Span
from chunkup.patience import PATIENCE
from chunkup.planner import cut
from chunkup.pool import SlotPool
from chunkup.reading import Pass
from chunkup.source import changed, looked

# Seconds of reading whose speed tells something about the rest.
_ENOUGH: Final = 1.0


class Proof:
    """The proof of one job within one run. :meth:`open` it before anything is sent.

    ``suspect`` says that even a file of the same time may be another one; ``patience`` is for
    how many seconds its disk may give no answer.
    """

    def __init__(
        self, job: Job, slots: SlotPool, *, suspect: bool = False, patience: float = PATIENCE
    ) -> None:
        self._job = job
        self._slots = slots
        self._suspect = suspect
        self._patience = patience
        self._seen: Fingerprint | None = None
        self._source: Source | None = None
        self._pass: Pass | None = None
        # Receipts of an earlier run: if these disagree, the file changed since then.
        self._old: frozenset[Receipt] = frozenset()

    @property
    def source(self) -> Source:
        """The file as it was when this run began."""
        if self._source is None:
            raise RuntimeError("the proof is not open")
        return self._source

    @property
    def is_open(self) -> bool:
        """Whether the file was looked at in this run."""
        return self._source is not None

    async def open(self, state: State, *, single: bool = False) -> None:
        """Look at the file and begin the pass, over all at once for a ``single`` request.

        Raises:
            SourceGone: It is not there.
            SourceChanged: It has another size.
            Stopped: Its disk does not answer.
        """
        found = self._seen = await self._look()
        if found.size != self._job.fingerprint.size:
            raise _changed(self._job, found)
        self._source = Source(self._job.path, self._job.span, found)
        if single:
            self._begin([self._job.span] if self._job.md5 else []).allow(self._job.span.stop)
            return
        self._old = frozenset(state.receipts)
        held = [receipt.span for receipt in state.receipts]
        missing = list(cut(state.missing, (), self._job.part_size)) if self._job.md5 else []
        self._begin(sorted(held + missing))

    async def settle_suspicion(self, state: State) -> None:
        """If the modification time or the path moved since, prove every receipt now.

        Raises:
            SourceChanged: A receipt disagrees with the file.
        """
        if self._pass is None:
            return
        if not self._suspect and self.source.fingerprint.mtime_ns == self._job.fingerprint.mtime_ns:
            return
        if state.receipts:
            await self._pass.reach(state.receipts[-1].span.stop)
            self._compare(state.receipts)

    def advance(self, state: State) -> None:
        """Let the pass follow the sending, and hear what it found so far.

        Raises:
            SourceChanged: The file moved, or a receipt disagrees with it.
            SourceGone: It cannot be read any more.
        """
        if self._pass is None:
            return
        self._pass.check()
        missing = state.missing
        lowest = missing[0].start if missing else self._job.span.stop
        self._pass.allow(lowest + (self._slots.slots.count + 2) * self._job.part_size)
        self._compare(state.receipts)

    @property
    def behind(self) -> float:
        """Seconds that the pass still needs, at the speed that it had so far while it read.

        0.0 where there is none, or before it has read enough to tell.
        """
        found = self._pass
        if found is None or found.busy < _ENOUGH:
            return 0.0
        left = sum(span.size for span in found.spans) - found.reached
        return left * found.busy / found.reached

    async def complete(self, state: State) -> str | None:
        """Wait for the pass to end and for every digest to agree; the MD5 in hex.

        None for a job without MD5.

        Raises:
            SourceChanged: The file moved, or a receipt disagrees with it.
            SourceGone: It cannot be read any more.
            Stopped: Its disk does not answer.
        """
        spans = tuple(receipt.span for receipt in state.receipts)
        if self._job.md5 and (self._pass is None or self._pass.spans != spans):
            # The parts were cut otherwise than the pass had expected.
            await self.close()
            self._begin(spans)
        if self._pass is not None:
            await self._pass.reach(self._job.span.stop)
            self._compare(state.receipts)
        if await self._touched_since():
            await self._read_again(spans)
            self._compare(state.receipts)
        return self._pass.md5() if self._pass is not None and self._job.md5 else None

    async def agrees(self, digest: str, earlier: CompleteAsked | None) -> str | None:
        """Whether a single request sent what the file is; the MD5 in hex.

        None for a job without MD5. ``digest`` is of all that went out; ``earlier`` is the ask that
        may have been carried out, and whose content this has to be as well.

        Raises:
            SourceChanged: It did not, or the file is another now.
            SourceGone: It cannot be read any more.
            Stopped: Its disk does not answer.
        """
        span, md5 = self._job.span, None
        if self._pass is not None and self._job.md5:
            await self._pass.reach(span.stop)
            md5 = self._pass.md5()
            if self._pass.digests[span] != digest:
                raise changed(self._job.path)
        if await self._touched_since():
            again = await self._read_again([span])
            if again.digests[span] != digest:  # and so its MD5 is the one that was found
                raise changed(self._job.path)
        if earlier is not None and earlier.md5 != md5:
            raise _changed(self._job, None)
        return md5

    async def close(self) -> None:
        """End the pass."""
        if self._pass is not None:
            await self._pass.close()

    async def _look(self) -> Fingerprint:
        return await looked(self._job.path, self._patience)

    async def _touched_since(self) -> bool:
        """Whether somebody touched the file in this run, though it looks the same.

        Raises:
            SourceChanged: It does not.
            SourceGone: It is not there any more.
        """
        found = await self._look()
        if found != self.source.fingerprint:
            raise changed(self._job.path)
        before, self._seen = self._seen, found
        return before is not None and found.touched_since(before)

    async def _read_again(self, spans: Iterable[Span]) -> Pass:
        """Read all of it while nobody touches it.

        Raises:
            SourceChanged: Somebody did.
        """
        await self.close()
        again = self._begin(spans)
        await again.reach(self._job.span.stop)
        if await self._touched_since():
            raise changed(self._job.path)
        return again

    def _begin(self, spans: Iterable[Span]) -> Pass:
        begun = self._pass = Pass(
            self.source, tuple(spans), md5=self._job.md5, patience=self._patience
        )
        begun.start()
        return begun

    def _compare(self, receipts: Iterable[Receipt]) -> None:
        digests = self._pass.digests if self._pass is not None else {}
        for receipt in receipts:
            found = digests.get(receipt.span)
            if found is None or found == receipt.xxh3:
                continue
            if receipt in self._old:
                raise _changed(self._job, None)
            raise changed(self._job.path)


def _changed(job: Job, found: Fingerprint | None) -> SourceChanged:
    how = (
        f"it has {found.size} bytes now, not {job.fingerprint.size}"
        if found
        else "its content is not what was sent before"
    )
    return SourceChanged(
        f"{job.path} changed since the upload began: {how}",
        between_runs=True,
        hint="upload it again to send the new content",
    )
