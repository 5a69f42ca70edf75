"""The library's face for programs with a loop."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from chunkup.asked import PLAIN, Manner, asked_for
from chunkup.dataset import Dataset, InOrder, Result
from chunkup.endpoint import Signer, resolve
from chunkup.engine import Engine, Orders
from chunkup.errors import JournalTrouble
from chunkup.events import Event
from chunkup.files import Files
from chunkup.files.uploads import Uploads
from chunkup.handles import AsyncRun, Feed
from chunkup.intake import Content
from chunkup.journal import Journal, default_path
from chunkup.key import KeySource
from chunkup.ledger import Emit
from chunkup.listener import OnEvent, careful
from chunkup.models import (
    PART_SIZE,
    Account,
    Job,
    JobInfo,
    Limits,
    Method,
    Options,
    Plan,
    RemoteFile,
    Split,
)
from chunkup.overview import overview
from chunkup.providers import Auth, Provider
from chunkup.render import make_renderer
from chunkup.sdk import arguments_of
from chunkup.selection import unfinished
from chunkup.settings import Changes, Settings
from chunkup.stops import Home
from chunkup.verifying import Verified, verify

if TYPE_CHECKING:
    import aiohttp
    import openai


class AsyncUploader:
    """Uploads files and goes on with uploads that stopped.

    Making one does no I/O; the journal and the connections are opened at first use and
    closed by ``async with`` or :meth:`aclose`. Files uploaded at the same time share the
    slots, the retry budget and every pause that the server asks for.

    Leaving ``async with`` waits for what was started; leaving it by an exception stops it.
    Cancelling a task that awaits an upload is a stop as well: receipts are kept, and the same
    call goes on.

    Args:
        base_url: ``https://host/v1``; default ``OPENAI_BASE_URL``, then OpenAI.
        api_key: The key, or a callable that gives it anew for each request; default
            ``OPENAI_API_KEY``. It is never written anywhere. A callable runs on the event loop,
            so one that has to wait is async. If the server refuses its key (401), it is asked
            once more, and the request sent again if the key is another now. The first key names
            the account for as long as the uploader lives, whatever replaces it; to another
            uploader that starts with another key the jobs are another account's, and it goes
            on with them one by one, by their ids: whole, if the server names the same
            organization and project for both keys, else only as far as their Uploads live.
        organization: Default ``OPENAI_ORG_ID``.
        project: Default ``OPENAI_PROJECT_ID``.
        headers: More headers for every request.
        allow_http: Let the key cross a network over plain http.
        no_key: Send no key.
        journal: The journal's file; default ``CHUNKUP_JOURNAL``, then in the user's state
            folder.
        limits: What the server takes, in bytes; default what its preset says.
        preset: Whose ways the server has, such as ``azure``; default by the URL's host.
        auth: How the key is sent; default as the preset says.
        query: Added to every URL.
        signer: Who makes the address and the headers of every request, in the place of all the
            above but ``headers``; see :meth:`from_openai`.
        cacert: The file of authorities (PEM) to trust instead of the operating system's; default
            ``SSL_CERT_FILE`` and ``SSL_CERT_DIR``.
        client_cert: The file of a certificate (PEM) to show to a server that asks for one; default
            ``OPENAI_MTLS_CLIENT_CERT_FILE``.
        client_key: The file of its private key, without a passphrase; default the same file, or
            ``OPENAI_MTLS_CLIENT_KEY_FILE``.
        part_size: Bytes of a part, 1 to the provider's limit (64 MiB at OpenAI).
        md5: Whether to compute the MD5 of the whole and send it with ``complete``.
        options: How hard to try.
        trace_configs: Given to aiohttp, for instrumentation.
        command: What the journal notes as the command of these runs; no secrets.
        progress: Whether to show progress on standard error, or in a notebook; None shows it for
            blocking calls alone, and only on a terminal or in a notebook.

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
        limits: Limits | None = None,
        preset: str | Provider | None = None,
        auth: Auth | None = None,
        query: Mapping[str, str] | None = None,
        signer: Signer | None = None,
        cacert: str | os.PathLike[str] | None = None,
        client_cert: str | os.PathLike[str] | None = None,
        client_key: str | os.PathLike[str] | None = None,
        part_size: int = PART_SIZE,
        md5: bool = True,
        options: Options | None = None,
        trace_configs: Sequence["aiohttp.TraceConfig"] = (),
        command: str = "library",
        progress: bool | None = None,
    ) -> None:
        endpoint = resolve(
            base_url=base_url,
            api_key=api_key,
            organization=organization,
            project=project,
            headers=headers,
            allow_http=allow_http,
            no_key=no_key,
            limits=limits,
            preset=preset,
            auth=auth,
            query=query,
            signer=signer,
            cacert=cacert,
            client_cert=client_cert,
            client_key=client_key,
        )
        self._engine = Engine(
            endpoint,
            Home(Path(journal) if journal is not None else default_path()),
            part_size=part_size,
            md5=md5,
            options=options,
            trace_configs=trace_configs,
            command=command,
        )
        self._progress = progress
        self._working: set[AsyncRun | Feed[Any]] = set()
        self._siblings: list[AsyncUploader] = []
        self._of: AsyncUploader | None = None

    @classmethod
    def from_openai(
        cls, client: "openai.OpenAI | openai.AsyncOpenAI", **settings: Unpack[Settings]
    ) -> Self:
        """An uploader that an SDK client signs for: the address and the account are the client's.

        The client is asked anew for the URL and the headers of every request, so all of these
        work as in the client's own calls: keys, callables that give them, Entra tokens and what
        provides them, workload identities, ``organization``, ``project``, ``default_headers``,
        ``default_query``, Azure's ``api_version`` and ``azure_deployment``, subclasses with ways
        of their own. Nothing is asked before the first call. A blocking client is asked on
        threads of its own; what an asynchronous one awaits must work on the loop of this uploader.

        Connections are ours: the client's ``timeout`` and ``max_retries`` and its
        ``http_client``'s limits, timeouts and redirects mean nothing here. A client certificate
        in its ``verify`` or ``cert`` cannot be seen from outside: give it as ``client_cert``.

        Jobs are the account's of the first key that the client sends, as without a client. Tokens
        of an hour, such as Entra's, name nobody: then the address, organization and project do.

        Args:
            client: ``OpenAI``, ``AsyncOpenAI``, ``AzureOpenAI`` or ``AsyncAzureOpenAI``, of
                openai 1.55.3 or later.
            **settings: All other arguments of this class.

        Raises:
            Refused: It is no such client, or has what only its own connections can do, such as a
                transport, a proxy or a ``verify`` of its own; the message names it, and the hint
                what to set here instead.
        """
        return cls(**arguments_of(client, settings))

    async def __aenter__(self) -> Self:
        await self._engine.journal()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            try:
                # A listener may start one when another is over.
                while working := self._all_working():
                    await asyncio.wait([asyncio.ensure_future(one.wait()) for one in working])
            except asyncio.CancelledError:
                await self.aclose()
                raise
        await self.aclose()

    async def aclose(self, grace: float = 10.0) -> None:
        """Stop what runs, keep its receipts, close connections, journal and threads.

        Who waits for what is stopped gets :class:`chunkup.Stopped`. Waits up to ``grace`` seconds
        for runs to come to rest; a commit under way is always waited for.
        """
        working = self._all_working()
        for one in working:
            one.stop()
        if working:
            await asyncio.wait([one.task for one in working], timeout=grace)
        if self._of is None:
            await self._engine.aclose()

    def _all_working(self) -> list[AsyncRun | Feed[Any]]:
        """What is under way here, and in what :meth:`with_options` made."""
        theirs = [one for sibling in self._siblings for one in sibling._all_working()]  # noqa: SLF001  (its own class)
        return [*self._working, *theirs]

    def with_options(self, **changes: Unpack[Changes]) -> "AsyncUploader":
        """An uploader of the same destination and journal that sends otherwise.

        It has connections and slots of its own. Closing it stops what it does; its connections
        are closed together with this one's.

        Args:
            **changes: ``part_size``, ``md5``, and every attribute of
                :class:`chunkup.Options`.
        """
        values: dict[str, Any] = dict(changes)
        part_size = values.pop("part_size", self._engine.part_size)
        md5 = values.pop("md5", self._engine.md5)
        made = object.__new__(type(self))
        made._engine = self._engine.sibling(
            options=replace(self._engine.options, **values), part_size=part_size, md5=md5
        )
        made._progress, made._of = self._progress, self
        made._working, made._siblings = set(), []
        self._siblings.append(made)
        return made

    def _watched(
        self,
        path: str,
        work: Callable[[OnEvent], Coroutine[Any, Any, RemoteFile]],
        on_event: OnEvent | None,
    ) -> AsyncRun:
        """What one file is about, in a task of its own, so that closing can stop it."""
        run = AsyncRun(path, work, on_event)
        self._working.add(run)
        run.when_over(partial(self._working.discard, run))
        return run

    # --- the calls themselves ---------------------------------------------------------------

    @property
    def files(self) -> Files:
        """The Files API: make, list, look at, download and delete Files."""
        return Files(self._engine, self.start, self._watched)

    @property
    def uploads(self) -> Uploads:
        """The Uploads API call by call, for programs that drive an Upload themselves."""
        return Uploads(self._engine)

    # --- one file ---------------------------------------------------------------------------

    async def upload(  # noqa: PLR0913  (the content's own properties)
        self,
        path: str | os.PathLike[str],
        *,
        purpose: str,
        filename: str | None = None,
        mime_type: str | None = None,
        expires_after: int | None = None,
        method: Method = "auto",
        fresh: bool = False,
        check: bool = True,
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
            method: ``uploads`` sends parts, ``files`` a single request; ``auto`` sends parts, but a
                single request where the server takes none, or none of this purpose.
            fresh: End an unfinished upload of this file and start over.
            check: Read the records of JSON Lines before anything is sent, and refuse what the
                server would refuse later.
            on_event: Called with every event; never awaited. One that raises is not called
                again.

        Raises:
            Refused: It cannot be uploaded; nothing was sent.
            BadContent: The check found something; ``findings`` has the first twenty.
            Failed: It failed, and waiting will not help.
            Busy: Another process is uploading it.
            OutcomeUnknown: The File may exist; look before you upload it again.
            Stopped: Not now; the same call goes on later.
        """
        return await self.start(
            path,
            purpose=purpose,
            filename=filename,
            mime_type=mime_type,
            expires_after=expires_after,
            method=method,
            fresh=fresh,
            check=check,
            on_event=on_event,
        )

    def start(  # noqa: PLR0913  (as upload)
        self,
        path: str | os.PathLike[str],
        *,
        purpose: str,
        filename: str | None = None,
        mime_type: str | None = None,
        expires_after: int | None = None,
        method: Method = "auto",
        fresh: bool = False,
        check: bool = True,
        on_event: OnEvent | None = None,
    ) -> AsyncRun:
        """Begin what :meth:`upload` does and return at once; needs a running loop."""

        async def work(on_event: OnEvent) -> RemoteFile:
            content = Content(purpose, filename, mime_type, expires_after, method)
            with self._shown(on_event) as emit:
                many = await asked_for(
                    self._engine,
                    [os.fspath(path)],
                    content,
                    replace(PLAIN, fresh=fresh, check=check),
                    emit=emit,
                )
                (member,) = many.members
                wanted = member.wanted or member.job
                job, file = await self._engine.upload(member.adopted, wanted, emit)
            await (await self._engine.journal()).mark_printed([job.id])
            return file

        return self._watched(os.fspath(path), work, on_event)

    async def resume(
        self,
        job_id: str,
        *,
        source: str | os.PathLike[str] | None = None,
        takeover: bool = False,
        on_event: OnEvent | None = None,
    ) -> RemoteFile:
        """Go on with a job by its id or any unique beginning of it.

        A completed job gives its File again.

        Args:
            job_id: The job.
            source: Where its file is now, if it moved; its content is proven.
            takeover: Take the job from a process that does not let go of it.
            on_event: As in :meth:`upload`.

        Raises:
            NoSuchJob: None fits, or several do.
            ChunkupError: As :meth:`upload`; a changed source is never sent here.
        """
        return await self._ordered(job_id, Orders(source=source, takeover=takeover), on_event)

    async def settle(
        self,
        job_id: str,
        *,
        accept: str | None = None,
        again: bool = False,
        on_event: OnEvent | None = None,
    ) -> RemoteFile:
        """Decide about a job whose outcome is unknown; without a decision only look again.

        Args:
            job_id: The job, by its id or any unique beginning of it.
            accept: The id of the File that it became; taken after size, name and purpose were
                compared.
            again: Send it once more, knowing that a second File may appear.
            on_event: As in :meth:`upload`.

        Raises:
            BadOption: The job is not in doubt, or the File cannot be the one.
            OutcomeUnknown: Still; ``candidates`` has the Files that fit.
        """
        return await self._ordered(job_id, Orders(accept=accept, again=again), on_event)

    def _ordered(self, job_id: str, orders: Orders, on_event: OnEvent | None) -> AsyncRun:
        async def work(on_event: OnEvent) -> RemoteFile:
            journal = await self._engine.journal()
            job = await journal.job(job_id)
            with self._shown(on_event) as emit:
                file = await self._engine.carry_out(job, emit, orders=orders)
            await journal.mark_printed([job.id])
            return file

        return self._watched(job_id, work, on_event)

    # --- many files -------------------------------------------------------------------------

    async def upload_all(  # noqa: PLR0913  (as upload)
        self,
        paths: Sequence[str | os.PathLike[str]],
        *,
        purpose: str,
        mime_type: str | None = None,
        expires_after: int | None = None,
        method: Method = "auto",
        fresh: bool = False,
        check: bool = True,
        split: bool | Split = False,
        manifest: str | os.PathLike[str] | None = None,
        skip_existing: bool = False,
        fail_fast: bool = False,
        on_event: OnEvent | None = None,
    ) -> AsyncGenerator[Result]:
        """Upload many files; a result for each, in the order of ``paths``.

        They are one set: if it is interrupted, the same call sends what is missing and gives
        what was finished again. One that fails stops no other: its result has the error.

        Args:
            paths: Regular files, at least one byte each.
            purpose: As in :meth:`upload`, and so are those below.
            mime_type: Of all of them.
            expires_after: Of all of them, in seconds.
            method: Of all of them.
            fresh: End what is unfinished of them and start over.
            check: One file that fails the check is kept back, and the others go.
            split: Cut each between its records into Files that the provider takes, or of the
                given :class:`chunkup.Split`; a result for each piece, whose ``path`` is its
                File's name.
            manifest: Where to write down what arrived: JSON Lines, one File each. Other entries
                of an existing manifest stay.
            skip_existing: Send no content that this account has for this purpose already, by this
                journal or by the manifest, if the server still has it: its result is ``reused``.
            fail_fast: The first error is the last result; what runs is stopped, receipts kept.
            on_event: As in :meth:`upload`.

        Raises:
            Refused: One of them cannot be uploaded; nothing was sent.
            BadContent: The only one failed the check; nothing was sent.
        """
        content = Content(purpose, None, mime_type, expires_after, method)
        many = await asked_for(
            self._engine,
            [os.fspath(path) for path in paths],
            content,
            Manner(
                fresh=fresh,
                check=check,
                split=split if isinstance(split, Split) else Split() if split else None,
                manifest=None if manifest is None else Path(manifest),
                skip_existing=skip_existing,
                fail_fast=fail_fast,
            ),
            emit=careful(on_event),
        )
        async with aclosing(self._in_order(many, on_event)) as results:
            async for result in results:
                yield result

    async def resume_all(
        self, *, any_age: bool = False, on_event: OnEvent | None = None
    ) -> AsyncGenerator[Result]:
        """Go on with everything of this destination and account that stopped.

        Gives the results of every set that something is left of, whole. Without ``any_age``
        only those that were active in the last seven days.
        """
        selection = await unfinished(self._engine, any_age=any_age)
        async with aclosing(self._in_order(selection.dataset, on_event)) as results:
            async for result in results:
                yield result

    async def verify(
        self, manifest: str | os.PathLike[str], *, content: bool = True
    ) -> AsyncGenerator[Verified]:
        """Ask the server about each File of a manifest, in its order; changes nothing.

        Args:
            manifest: Its path; see :meth:`upload_all`.
            content: Whether to compare contents, where the server gives them back; nothing of
                them is kept.

        Raises:
            Refused: That is no manifest.
            Unauthorized, Failed: The server will hear nothing from this key, or on this way.
            Stopped: It failed eight times in a row.
        """
        # It ends with the uploader, also if the caller has left its loop and holds on to this.
        feed = Feed(verify(self._engine, manifest, content=content))
        self._working.add(feed)
        feed.when_over(partial(self._working.discard, feed))
        try:
            async for verified in feed:
                yield verified
        finally:
            feed.stop()
            await feed.wait()

    async def _in_order(self, many: Dataset, on_event: OnEvent | None) -> AsyncGenerator[Result]:
        """Results in the members' order, each as soon as those before it are there."""
        journal = await self._engine.journal()
        order = InOrder()
        # It stops with the uploader, also if the caller has left its loop and holds on to this.
        feed = Feed(self._told(many, on_event))
        self._working.add(feed)
        feed.when_over(partial(self._working.discard, feed))
        try:
            async for place, result in feed:
                for following in order.due(place, result):
                    yield following
                    # The caller has it now, and asks for more. To give one twice does no harm.
                    if following.file is not None:
                        with suppress(JournalTrouble):
                            await journal.mark_printed([following.job_id])
        finally:
            feed.stop()
            await feed.wait()

    async def _told(
        self, many: Dataset, on_event: OnEvent | None
    ) -> AsyncGenerator[tuple[int, Result]]:
        with self._shown(on_event, many) as emit:
            async with aclosing(many.results(emit)) as results:
                async for placed in results:
                    yield placed

    @contextmanager
    def _shown(self, on_event: OnEvent | None, many: Dataset | None = None) -> Iterator[Emit]:
        """A listener that cannot break the upload, together with a bar where one is wanted."""
        tell = careful(on_event)
        if not self._progress:
            yield tell
            return
        renderer = make_renderer("auto")
        if many is not None:
            renderer.begin(*many.extent)

        def show(event: Event) -> None:
            renderer.show(event)
            tell(event)

        try:
            yield show
        finally:
            renderer.close()

    # --- jobs -------------------------------------------------------------------------------

    async def jobs(self) -> list[JobInfo]:
        """Every job that the journal holds, oldest first."""
        journal = await self._engine.journal()
        return [overview(journal, line) for line in await journal.lines()]

    async def stop(self, job_id: str) -> bool:
        """Stop a job, in whatever process of this machine it runs; False if it runs in none.

        Its receipts are kept. Returns once it has stopped.

        Raises:
            NoSuchJob: None fits, or several do.
            Busy: It runs on another machine, or does not let go of it within ten seconds.
        """
        return await self._engine.stop(await (await self._engine.journal()).job(job_id))

    async def cancel(self, job_id: str) -> RemoteFile | None:
        """End a job, here and on the server; its File if that turns out to exist already.

        Raises:
            NoSuchJob: None fits, or several do.
            Busy: A process is running it.
            ChunkupError: The server could not be asked; the job is as it was.
        """
        return await self._engine.cancel(await (await self._engine.journal()).job(job_id))

    def plan(  # noqa: PLR0913  (as upload)
        self,
        path: str | os.PathLike[str],
        *,
        purpose: str,
        filename: str | None = None,
        mime_type: str | None = None,
        expires_after: int | None = None,
        method: Method = "auto",
    ) -> tuple[Job, Plan]:
        """What :meth:`upload` would do with these arguments; sends and writes nothing.

        Raises:
            Refused: It cannot be uploaded.
        """
        content = Content(purpose, filename, mime_type, expires_after, method)
        return self._engine.describe(path, content)

    async def journal(self) -> Journal:
        """The journal, opened now if it was not."""
        return await self._engine.journal()

    async def account(self) -> Account:
        """The account that this uploader works for, as the journal knows it."""
        return await self._engine.account()
