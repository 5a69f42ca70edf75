"""What all runs of one uploader share, and the rules by which a run begins and is stopped."""

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from shlex import quote
from typing import TYPE_CHECKING, Final

from chunkup.api import Api
from chunkup.decisions import accept, cancel, give_up
from chunkup.endpoint import Endpoint
from chunkup.errors import (
    BadOption,
    Busy,
    ChunkupError,
    JournalTrouble,
    SourceChanged,
    Stopped,
)
from chunkup.fit import Fit
from chunkup.intake import Content, describe
from chunkup.journal import Adopted, Journal, Standing
from chunkup.ledger import Claim, Emit, Ledger
from chunkup.link import Workshop
from chunkup.listener import careful, log, tell_end, tell_outdated, tell_reused, tell_stop
from chunkup.machine import OPEN, Cancelled, Completed, Failed, Phase
from chunkup.models import (
    PART_SIZE,
    Account,
    Fingerprint,
    Job,
    Options,
    Plan,
    RemoteFile,
    Split,
)
from chunkup.planner import plan
from chunkup.pool import SlotPool
from chunkup.reading import Readers, md5_of
from chunkup.retry import Policy
from chunkup.run import Run
from chunkup.shortage import affordable, shortage
from chunkup.slots import Slots
from chunkup.source import inspect
from chunkup.spool import Spool
from chunkup.stops import Home, Stops

if TYPE_CHECKING:
    import aiohttp


@dataclass(frozen=True, slots=True)
class Orders:
    """What a person says about one job, beyond going on with it.

    Attributes:
        source: Where its file is now; proof decides whether it is the same.
        part_size: Bytes of a part for what is not sent yet.
        accept: The File that a job in doubt became.
        again: Send a job in doubt once more; a second File may appear.
        takeover: Take it from a process that does not let go of it.
    """

    source: str | os.PathLike[str] | None = None
    part_size: int | None = None
    accept: str | None = None
    again: bool = False
    takeover: bool = False


GO_ON: Final = Orders()


class Engine:
    """Connections, slots and running jobs of one uploader.

    Making one does no I/O. The arguments are as :class:`chunkup.AsyncUploader` has them.
    """

    def __init__(  # noqa: PLR0913  (each is one thing that a user may set)
        self,
        endpoint: Endpoint,
        home: Home,
        *,
        part_size: int = PART_SIZE,
        md5: bool = True,
        options: Options | None = None,
        trace_configs: Sequence["aiohttp.TraceConfig"] = (),
        command: str = "library",
    ) -> None:
        self.endpoint = endpoint
        self.options = options or Options()
        self.part_size = part_size
        self.md5 = md5
        self._home = home
        self._trace_configs = trace_configs
        self._command = command
        self._shop: Workshop | None = None
        self._stops = Stops(home)
        self._fit = Fit(self.journal, patience=self.options.stall_timeout)
        self._siblings: list[Engine] = []

    def sibling(self, *, options: Options, part_size: int, md5: bool) -> "Engine":
        """An engine of the same destination and journal that sends otherwise.

        It has connections, slots and a retry budget of its own, and is closed with this one.
        """
        made = Engine(
            self.endpoint,
            self._home,
            part_size=part_size,
            md5=md5,
            options=options,
            trace_configs=self._trace_configs,
            command=self._command,
        )
        self._siblings.append(made)
        return made

    async def journal(self) -> Journal:
        """The journal, opened now if it was not."""
        return await self._home.journal()

    async def account(self) -> Account:
        """The account that this engine works for, as the journal knows it."""
        return await self.endpoint.account((await self.journal()).salt)

    async def aclose(self) -> None:
        """Close connections, journal and threads. Runs under way have to be over."""
        for sibling in self._siblings:
            await sibling.aclose()
        await self._stops.close()
        shop, self._shop = self._shop, None
        if shop is not None:
            await shop.api.close()
            shop.readers.close()
        await self._home.close()

    # --- which jobs -------------------------------------------------------------------------

    def describe(
        self, path: str | os.PathLike[str], content: Content, split: Split | None = None
    ) -> tuple[Job, Plan]:
        """The job that would upload this file, and its plan; sends and writes nothing."""
        return describe(
            path,
            content,
            self.endpoint,
            self.endpoint.provider.limits,
            part_size=self.part_size,
            md5=self.md5,
            split=split,
        )

    async def adopt(
        self, wanted: Sequence[Job], *, fresh: bool = False, emit: Emit = lambda _: None
    ) -> list[Adopted]:
        """For each wanted job the one to work for, as one set; all are in the journal then.

        ``fresh`` ends what is unfinished of them and starts over.
        """
        journal, account = await self.journal(), await self.account()
        set_id = os.urandom(8).hex()
        wanted = [replace(job, account=account, set_id=set_id) for job in wanted]
        if fresh:
            for job in await journal.open_like(wanted):
                await self._drop(job, fresh=True)
        for job in await journal.superseded(wanted):
            lost = (await journal.line(job.id)).done
            await self._drop(job, fresh=fresh)
            tell_outdated(job, lost, emit, why="the file is cut otherwise now")
        proven = [
            suspect.job.id
            for suspect in ([] if fresh else await journal.suspects(wanted))
            if await md5_of(suspect.job.path, inspect(suspect.job.path)[1], suspect.job.span)
            == suspect.md5
        ]
        mortal = not fresh and await journal.mortal(wanted)
        now = await self._server_now() if mortal else None
        return await journal.adopt_all(wanted, proven=proven, fresh=fresh, now=now)

    async def _server_now(self) -> float:
        """The server's time, by which a File is over; ours where it cannot be asked."""
        api = self.workshop.api
        if not api.transport.knows_time:
            with suppress(ChunkupError):  # a refusal tells the time as well
                await api.list_files(None, None, limit=1)
        return api.server_now()

    # --- runs -------------------------------------------------------------------------------

    async def upload(self, adopted: Adopted, wanted: Job, emit: Emit) -> tuple[Job, RemoteFile]:
        """Carry out an adopted job; where its file changed since, the new content is sent.

        ``wanted`` is the job as it was asked for, with the file as it was then. Returns the job
        that ended in the File, which is another one after such a change.
        """
        job = adopted.job
        if adopted.file is not None:
            tell_reused(job, adopted.file, emit)
            return job, adopted.file
        continued = adopted.standing is not Standing.NEW
        if continued and await self._outdated(job, wanted.fingerprint):
            job, continued = await self._follow(job, wanted, emit), False
        try:
            if job.cut:
                await self._fit.see(job, wanted.fingerprint, between_runs=False)
            return job, await self._carry_out(job, emit, continued=continued)
        except SourceChanged as error:
            if not error.between_runs:
                error.job_id = job.id
                tell_end(job, error, emit)
                raise
            job = await self._follow(job, wanted, emit)
            return job, await self.carry_out(job, emit, continued=False)

    async def carry_out(
        self, job: Job, emit: Emit, *, continued: bool = True, orders: Orders = GO_ON
    ) -> RemoteFile:
        """One run of a job, until there is a File; tells how it ended.

        Raises:
            ChunkupError: As :meth:`chunkup.AsyncUploader.upload`.
        """
        try:
            if job.cut:
                at = None if orders.source is None else inspect(orders.source)[0]
                await self._fit.see(job, job.fingerprint, between_runs=continued, moved_to=at)
            return await self._carry_out(job, emit, continued=continued, orders=orders)
        except SourceChanged as error:
            error.job_id = job.id
            tell_end(job, error, emit)
            raise

    async def _carry_out(
        self, job: Job, emit: Emit, *, continued: bool, orders: Orders = GO_ON
    ) -> RemoteFile:
        """As :meth:`carry_out`, but a change of the source is left to the caller to tell."""
        try:
            file = await self._supervised(job, emit, continued=continued, orders=orders)
        except SourceChanged as error:
            error.job_id = job.id
            raise
        except ChunkupError as error:
            error.job_id = error.job_id or job.id
            tell_end(job, error, emit)
            raise
        except asyncio.CancelledError:
            tell_stop(job, emit)
            raise
        await self._let_go(job)
        return file

    async def _let_go(self, job: Job) -> None:
        """Remove what was kept of standard input, once no piece of it needs it any more."""
        journal = await self.journal()
        spool = Spool.beside(journal.path)
        if not spool.owns(job.path):
            return
        lines = await journal.lines()
        if not any(line.job.path == job.path and line.phase in OPEN for line in lines):
            spool.discard(job.path)

    async def keep_back(self, job: Job, error: ChunkupError, emit: Emit) -> None:
        """End a job that was never begun, since its file must not be sent as it is."""
        journal = await self.journal()
        error.job_id = job.id
        async with Claim(journal, job, self._command):
            ledger = Ledger(job, journal, emit)
            await ledger.load()
            await ledger.record(Failed(error.code, error.message))
        tell_end(job, error, emit)

    async def reuse(self, job: Job, fact: Completed, emit: Emit) -> RemoteFile:
        """End a job that was never begun in a File that is there already."""
        journal = await self.journal()
        try:
            async with Claim(journal, job, self._command):
                ledger = Ledger(job, journal, emit)
                await ledger.load()
                await ledger.record(fact)
        except ChunkupError as error:
            tell_end(job, error, emit)
            raise
        tell_reused(job, fact.file, emit)
        await self._let_go(job)
        return fact.file

    async def _follow(self, job: Job, wanted: Job, emit: Emit) -> Job:
        """Let go of a job whose file has other content now; the job for that content."""
        journal = await self.journal()
        line = await journal.line(job.id)
        tell_outdated(job, line.done, emit)
        await self._drop(job, fresh=False)
        # Where pieces of it begin and end was found out when they were asked for.
        anew = wanted if wanted.cut else _anew(job, inspect(job.path)[1])
        return await journal.succeed(job, replace(anew, account=job.account, check=wanted.check))

    async def _supervised(
        self, job: Job, emit: Emit, *, continued: bool, orders: Orders
    ) -> RemoteFile:
        """A run in a task of its own, so that it can be stopped without its caller."""
        if job.account.base_url != self.endpoint.base_url:
            raise BadOption(
                f"job {job.id} goes to {job.account.base_url}, not to {self.endpoint.base_url}",
                hint=f"chunkup resume {job.id} --base-url {quote(job.account.base_url)}",
                job_id=job.id,
            )
        job = self._as_ordered(job, orders)
        journal = await self.journal()
        if orders.takeover:
            try:
                # Who answers a request to stop need not be overruled.
                await self._stops.ask(job)
            except Busy as error:
                log.warning("%s; taking it over", error)
        log.info("%s: %s", job.id, "resuming" if continued else "starting")
        async with Claim(journal, job, self._command, takeover=orders.takeover):
            ledger = Ledger(job, journal, emit)
            task = asyncio.create_task(self._run(ledger, orders, continued=continued))
            self._stops.add(job.id, task)
            try:
                return await task
            except ChunkupError:
                # Whatever went wrong, a job that was taken over meanwhile is no more ours.
                with suppress(JournalTrouble):
                    await journal.check(job.id)
                raise
            except Exception as error:
                if lack := shortage(error):
                    raise lack from error
                raise
            except asyncio.CancelledError:
                asked, caller = self._stops.remove(job.id), asyncio.current_task()
                if not asked or (caller is not None and caller.cancelling()):
                    raise
                raise Stopped(
                    f"job {job.id} was asked to stop; what was accepted is kept",
                    hint=f"chunkup resume {job.id}",
                ) from None
            finally:
                self._stops.remove(job.id)

    async def _run(self, ledger: Ledger, orders: Orders, *, continued: bool) -> RemoteFile:
        if orders.accept is not None:
            return await accept(ledger, self.workshop, orders.accept)
        if orders.again:
            await give_up(ledger, self.workshop)
        run = Run(
            ledger,
            self.workshop,
            continued=continued,
            same_account=ledger.job.account == await self.account(),
            moved=orders.source is not None,
        )
        return await run.execute()

    def _as_ordered(self, job: Job, orders: Orders) -> Job:
        if orders.part_size is not None:
            plan(
                job.span,
                part_size=orders.part_size,
                purpose=job.purpose,
                limits=self.endpoint.provider.limits,
            )
            job = replace(job, part_size=orders.part_size)
        if orders.source is not None:
            job = replace(job, path=inspect(orders.source)[0])
        return job

    async def cancel(self, job: Job) -> RemoteFile | None:
        """End a job here and on the server; see :meth:`chunkup.AsyncUploader.cancel`."""
        journal = await self.journal()
        async with Claim(journal, job, self._command):
            file = await cancel(Ledger(job, journal, careful(None)), self.workshop)
        await self._let_go(job)
        return file

    async def _outdated(self, job: Job, found: Fingerprint) -> bool:
        """Whether a job in doubt may be about other content than the file has now.

        The content of such a job is never compared again, so its size and time decide: its
        File must not be taken for the new content's. All other jobs are settled by proof.
        """
        line = await (await self.journal()).line(job.id)
        moved = (found.size, found.mtime_ns) != (job.fingerprint.size, job.fingerprint.mtime_ns)
        return line.phase is Phase.ASKED and moved

    async def _drop(self, job: Job, *, fresh: bool) -> None:
        """End a job that is not to be gone on with; the server hears of it if it can."""
        journal = await self.journal()
        async with Claim(journal, job, self._command):
            ledger = Ledger(job, journal, careful(None))
            try:
                await cancel(ledger, self.workshop)
            except ChunkupError:
                # The Upload dies by itself; the new content does not wait for that.
                await ledger.load()
                if ledger.state.phase in {Phase.NEW, Phase.SENDING}:
                    why = Cancelled() if fresh else Failed("source-changed", "the source changed")
                    await ledger.record(why)
                else:
                    raise

    async def stop(self, job: Job) -> bool:
        """Stop a job, in whatever process of this machine it runs; see :meth:`Stops.ask`."""
        return await self._stops.ask(job)

    @property
    def workshop(self) -> Workshop:
        """Connections, slots and budget, made now if they were not; needs a running loop."""
        if self._shop is None:
            options = self.options
            # Where the order of arrival is the File's order, one part goes after another.
            workers = 1 if self.endpoint.provider.ordered else options.workers
            api = Api(
                self.endpoint,
                stall_timeout=options.stall_timeout,
                complete_timeout=options.complete_timeout,
                limit_rate=options.limit_rate,
                trace_configs=self._trace_configs,
            )
            api.open()
            if (most := affordable(workers)) < workers:
                log.warning("open files (ulimit -n) are enough for %d workers at most", most)
            slots = Slots(min(workers, most), options.limit_rate or float("inf"))
            slots.expect(self.part_size)
            self._shop = Workshop(
                api=api,
                readers=Readers(patience=options.stall_timeout),
                policy=Policy(options.retries, options.offline_wait),
                slots=SlotPool(slots, patience=2 * options.stall_timeout),
                options=options,
            )
        return self._shop


def _anew(job: Job, found: Fingerprint) -> Job:
    """The same wish for what the file is now."""
    return replace(job, span=replace(job.span, start=0, stop=found.size), fingerprint=found)
