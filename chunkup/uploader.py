"""The engine's face: one object that uploads, resumes and cancels, with everything shared."""

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from types import TracebackType
from typing import TYPE_CHECKING, Self

from chunkup.api import Api
from chunkup.endpoint import KeySource, resolve
from chunkup.errors import (
    BadOption,
    ChunkupError,
    OutcomeUnknown,
    SourceChanged,
)
from chunkup.journal import Journal, default_path
from chunkup.ledger import Claim, Emit, Ledger
from chunkup.link import Workshop
from chunkup.listener import OnEvent, careful, log, tell_end
from chunkup.machine import Cancelled, Failed, Phase
from chunkup.models import PART_SIZE, Account, Fingerprint, Job, Options, Plan, RemoteFile
from chunkup.pace import Slots
from chunkup.planner import plan, whole
from chunkup.retry import Policy
from chunkup.run import Run, cancel
from chunkup.source import Readers, inspect, mime_type_of
from chunkup.text import printable
from chunkup.worker import SlotPool

if TYPE_CHECKING:
    import aiohttp


class AsyncUploader:
    """Uploads files and goes on with uploads that stopped.

    Making one does no I/O; the journal and the connections are opened at first use and
    closed by ``async with`` or :meth:`aclose`. Files uploaded at the same time share the
    slots, the retry budget and every pause that the server asks for.

    Args:
        base_url: ``https://host/v1``; default ``OPENAI_BASE_URL``, then OpenAI.
        api_key: The key, or a callable that gives it anew for each request; default
            ``OPENAI_API_KEY``. It is never written anywhere.
        organization: Default ``OPENAI_ORG_ID``.
        project: Default ``OPENAI_PROJECT_ID``.
        headers: More headers for every request.
        allow_http: Let the key cross a network over plain http.
        no_key: Send no key.
        journal: The journal's file; default ``CHUNKUP_JOURNAL``, then in the user's state
            folder.
        part_size: Bytes of a part, 1 to the provider's limit (64 MiB at OpenAI).
        md5: Whether to compute the MD5 of the whole and send it with ``complete``.
        options: How hard to try.
        trace_configs: Given to aiohttp, for instrumentation.
        command: What the journal notes as the command of these runs; no secrets.

    Raises:
        Refused: An argument that cannot be, or no key.
    """

    def __init__(  # noqa: PLR0913  (each is one thing that a user may set)
        self,
        *,
        base_url: str | None = None,
        api_key: str | KeySource | None = None,
        organization: str | None = None,
        project: str | None = None,
        headers: Mapping[str, str] | None = None,
        allow_http: bool = False,
        no_key: bool = False,
        journal: str | os.PathLike[str] | None = None,
        part_size: int = PART_SIZE,
        md5: bool = True,
        options: Options | None = None,
        trace_configs: Sequence["aiohttp.TraceConfig"] = (),
        command: str = "library",
    ) -> None:
        self._endpoint = resolve(
            base_url=base_url,
            api_key=api_key,
            organization=organization,
            project=project,
            headers=headers,
            allow_http=allow_http,
            no_key=no_key,
        )
        self._journal_path = Path(journal) if journal is not None else default_path()
        self._part_size = part_size
        self._md5 = md5
        self._options = options or Options()
        self._trace_configs = trace_configs
        self._command = command
        self._opening = asyncio.Lock()
        self._journal: Journal | None = None
        self._shop: Workshop | None = None

    async def __aenter__(self) -> Self:
        await self.journal()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close connections, journal and threads. Runs under way have to be over."""
        shop, self._shop = self._shop, None
        journal, self._journal = self._journal, None
        if shop is not None:
            await shop.api.close()
            shop.readers.close()
        if journal is not None:
            await journal.close()

    async def journal(self) -> Journal:
        """The journal, opened now if it was not."""
        async with self._opening:
            if self._journal is None:
                self._journal = await Journal.open(self._journal_path)
        return self._journal

    async def account(self) -> Account:
        """The account that this uploader works for, as the journal knows it."""
        return self._endpoint.account((await self.journal()).salt)

    # --- the work ---------------------------------------------------------------------------

    async def upload(  # noqa: PLR0913  (the content's own properties)
        self,
        path: str | os.PathLike[str],
        *,
        purpose: str,
        filename: str | None = None,
        mime_type: str | None = None,
        expires_after: int | None = None,
        fresh: bool = False,
        set_id: str | None = None,
        on_event: OnEvent | None = None,
    ) -> RemoteFile:
        """Upload a file, or go on with its unfinished upload.

        Args:
            path: A regular file, at least one byte.
            purpose: ``batch``, ``user_data``, ``fine-tune``, ... or what a provider calls its
                own.
            filename: The File's name; default the path's last part.
            mime_type: Default by the name's extension.
            expires_after: Seconds after creation at which the File vanishes, 3600 to 2592000.
            fresh: End an unfinished upload of this file and start over.
            set_id: Jobs of one command share it.
            on_event: Called with every event; never awaited. One that raises is not called
                again.

        Raises:
            Refused: It cannot be uploaded; nothing was sent.
            Failed: It failed, and waiting will not help.
            Busy: Another process is uploading it.
            OutcomeUnknown: The File may exist; look before you upload it again.
            Stopped: Not now; the same call goes on later.
        """
        wanted, _ = self.plan(
            path,
            purpose=purpose,
            filename=filename,
            mime_type=mime_type,
            expires_after=expires_after,
        )
        journal = await self.journal()
        wanted = replace(wanted, account=await self.account(), set_id=set_id or os.urandom(8).hex())
        job, continued = await journal.adopt(wanted)
        if continued and (fresh or await self._outdated(job, wanted.fingerprint)):
            await self._drop(job, fresh=fresh)
            job, continued = await journal.adopt(wanted, fresh=True)
        emit = careful(on_event)
        try:
            return await self._run(job, emit, continued=continued)
        except SourceChanged as error:
            if not error.between_runs:
                raise
            log.warning("%s; uploading the new content", error)
            await self._drop(job, fresh=False)
            job, _ = await journal.adopt(wanted, fresh=True)
            return await self._run(job, emit, continued=False)

    def plan(
        self,
        path: str | os.PathLike[str],
        *,
        purpose: str,
        filename: str | None = None,
        mime_type: str | None = None,
        expires_after: int | None = None,
    ) -> tuple[Job, Plan]:
        """What :meth:`upload` would do with these arguments; sends and writes nothing.

        Raises:
            Refused: It cannot be uploaded.
        """
        real, found = inspect(path)
        span = whole(found.size, os.fspath(path))
        limits = self._endpoint.provider.limits
        if not purpose or not purpose.isprintable() or len(purpose) > 64:
            raise BadOption(f"{purpose!r} is not a purpose", hint="say --purpose user_data")
        if expires_after is not None and not 3600 <= expires_after <= 2_592_000:
            raise BadOption(
                f"a File can expire after 3600 to 2592000 seconds, not {expires_after}",
                hint="give between 1h and 30d",
            )
        name = filename or PurePath(path).name
        if any("\ud800" <= char <= "\udfff" for char in name):
            raise BadOption(
                f"the name of {printable(os.fspath(path))} is no valid text",
                hint="give the File another name with --filename NAME",
            )
        job = Job(
            id="",
            set_id="",
            account=Account(self._endpoint.base_url),
            path=real,
            span=span,
            fingerprint=found,
            purpose=purpose,
            filename=name,
            mime_type=mime_type or mime_type_of(name),
            created_at=time.time(),
            expires_after=expires_after,
            part_size=self._part_size,
            md5=self._md5,
        )
        return job, plan(span, part_size=self._part_size, purpose=purpose, limits=limits)

    async def resume(self, job_id: str, *, on_event: OnEvent | None = None) -> RemoteFile:
        """Go on with a job by its id or any unique beginning of it.

        A completed job gives its File again.

        Raises:
            NoSuchJob: None fits, or several do.
            ChunkupError: As :meth:`upload`; a changed source is never sent here.
        """
        job = await (await self.journal()).job(job_id)
        return await self._run(job, careful(on_event), continued=True)

    async def cancel(self, job_id: str) -> RemoteFile | None:
        """End a job, here and on the server; its File if that turns out to exist already.

        Raises:
            NoSuchJob: None fits, or several do.
            Busy: A process is running it.
            ChunkupError: The server could not be asked; the job is as it was.
        """
        journal = await self.journal()
        job = await journal.job(job_id)
        async with Claim(journal, job, self._command):
            return await cancel(Ledger(job, journal, careful(None)), self._workshop())

    # --- inside -----------------------------------------------------------------------------

    async def _run(self, job: Job, emit: Emit, *, continued: bool) -> RemoteFile:
        journal = await self.journal()
        same = job.account == await self.account()
        if job.account.base_url != self._endpoint.base_url:
            raise BadOption(
                f"job {job.id} goes to {job.account.base_url}, not to {self._endpoint.base_url}",
                hint=f"chunkup resume {job.id} --base-url {job.account.base_url}",
                job_id=job.id,
            )
        async with Claim(journal, job, self._command):
            run = Run(
                Ledger(job, journal, emit),
                self._workshop(),
                continued=continued,
                same_account=same,
            )
            log.info("%s: %s", job.id, "resuming" if continued else "starting")
            try:
                return await run.execute()
            except ChunkupError as error:
                tell_end(job, error, emit)
                raise

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
                await cancel(ledger, self._workshop())
            except OutcomeUnknown:
                raise
            except ChunkupError:
                # The Upload dies by itself; the new content does not wait for that.
                await ledger.load()
                if ledger.state.phase in {Phase.NEW, Phase.SENDING}:
                    why = Cancelled() if fresh else Failed("source-changed", "the source changed")
                    await ledger.record(why)
                else:
                    raise

    def _workshop(self) -> Workshop:
        if self._shop is None:
            options = self._options
            api = Api(
                self._endpoint,
                stall_timeout=options.stall_timeout,
                complete_timeout=options.complete_timeout,
                trace_configs=self._trace_configs,
            )
            api.open()
            self._shop = Workshop(
                api=api,
                readers=Readers(),
                policy=Policy(options.retries, options.offline_wait),
                slots=SlotPool(Slots(options.workers)),
                options=options,
            )
        return self._shop
