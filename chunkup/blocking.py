"""Blocking calls for scripts, threads and notebooks: the face for programs without a loop."""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from chunkup import events
from chunkup.blocking_files import BlockingFiles, BlockingUploads
from chunkup.dataset import Result
from chunkup.endpoint import Signer
from chunkup.handles import AsyncRun
from chunkup.key import KeySource
from chunkup.listener import OnEvent
from chunkup.models import PART_SIZE, JobInfo, Limits, Method, Options, RemoteFile, Split
from chunkup.providers import Auth, Provider
from chunkup.render.notebook import in_kernel
from chunkup.sdk import arguments_of
from chunkup.settings import Changes, Settings
from chunkup.thread import THREAD
from chunkup.uploader import AsyncUploader
from chunkup.verifying import Verified

if TYPE_CHECKING:
    import aiohttp
    import openai

_Item = TypeVar("_Item")


class Run:
    """A started upload, as a program without a loop holds it."""

    def __init__(self, run: AsyncRun) -> None:
        self._run = run

    @property
    def path(self) -> str:
        """The file, as it was given."""
        return self._run.path

    @property
    def job_id(self) -> str | None:
        """The job's id, as soon as the journal has it; see :meth:`ready`."""
        return self._run.job_id

    @property
    def progress(self) -> events.Progress | None:
        """Where the job stood about a second ago; None before its run begins."""
        return self._run.progress

    @property
    def done(self) -> bool:
        """Whether it is over, however it ended."""
        return self._run.done

    def ready(self) -> str | None:
        """Wait until the job is in the journal; its id, or None if it ended before."""
        return THREAD.run(self._run.ready())

    def stop(self) -> None:
        """Stop; receipts are kept. Whoever waits for it gets :class:`chunkup.Stopped`."""
        THREAD.call(self._run.stop)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is over, at most ``timeout`` seconds; whether it is."""
        if self._run.done:
            return True  # asyncio would not even look within no time
        try:
            THREAD.run(asyncio.wait_for(self._run.wait(), timeout))
        except TimeoutError:
            return False
        return True

    def result(self, timeout: float | None = None) -> RemoteFile:
        """Wait for the File.

        Ctrl-C stops it, as in :meth:`Uploader.upload`; in :meth:`wait` it does not.

        Raises:
            TimeoutError: It is not over after ``timeout`` seconds; it goes on.
            ChunkupError: As :meth:`Uploader.upload`.
        """
        try:
            if not self.wait(timeout):
                raise TimeoutError(f"the upload of {self.path} is not over yet")
        except KeyboardInterrupt as error:
            self.stop()
            self.wait()
            _note(error, self.job_id)
            raise
        return THREAD.run(_awaited(self._run))


async def _awaited(run: AsyncRun) -> RemoteFile:
    return await run


class Uploader:
    """Uploads files and goes on with uploads that stopped, for programs without a loop.

    Every call blocks until it is done, and may be made from any thread, also where a loop
    runs. The arguments and the calls are those of :class:`chunkup.AsyncUploader`.

    Ctrl-C stops what a call does, keeps its receipts, and raises ``KeyboardInterrupt`` with a
    note that says how to go on.
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
        if progress is None:
            progress = in_kernel() or (sys.stderr is not None and sys.stderr.isatty())
        self._inner = AsyncUploader(
            base_url=base_url,
            api_key=api_key,
            organization=organization,
            project=project,
            headers=headers,
            allow_http=allow_http,
            no_key=no_key,
            journal=journal,
            limits=limits,
            preset=preset,
            auth=auth,
            query=query,
            signer=signer,
            cacert=cacert,
            client_cert=client_cert,
            client_key=client_key,
            part_size=part_size,
            md5=md5,
            options=options,
            trace_configs=trace_configs,
            command=command,
            progress=progress,
        )
        THREAD.look_after(self._inner)

    @classmethod
    def from_openai(
        cls, client: "openai.OpenAI | openai.AsyncOpenAI", **settings: Unpack[Settings]
    ) -> Self:
        """An uploader that an SDK client signs for; :meth:`chunkup.AsyncUploader.from_openai`.

        What an asynchronous client awaits runs on chunkup's own thread.
        """
        return cls(**arguments_of(client, settings))

    def __enter__(self) -> Self:
        THREAD.run(self._inner.__aenter__())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        THREAD.run(self._inner.__aexit__(kind, error, trace))

    def close(self, grace: float = 10.0) -> None:
        """Stop what runs and close; see :meth:`chunkup.AsyncUploader.aclose`."""
        THREAD.run(self._inner.aclose(grace))

    def with_options(self, **changes: Unpack[Changes]) -> "Uploader":
        """An uploader of the same destination and journal that sends otherwise."""
        made = object.__new__(type(self))
        made._inner = self._inner.with_options(**changes)
        return made

    @property
    def files(self) -> BlockingFiles[Run]:
        """The Files API; see :attr:`chunkup.AsyncUploader.files`."""
        return BlockingFiles(self._inner.files, Run)

    @property
    def uploads(self) -> BlockingUploads:
        """The Uploads API call by call; see :attr:`chunkup.AsyncUploader.uploads`."""
        return BlockingUploads(self._inner.uploads)

    def upload(  # noqa: PLR0913  (the content's own properties)
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
        """Upload a file and wait for it; see :meth:`chunkup.AsyncUploader.upload`."""
        return _noted(
            lambda listen: self._inner.upload(
                path,
                purpose=purpose,
                filename=filename,
                mime_type=mime_type,
                expires_after=expires_after,
                method=method,
                fresh=fresh,
                check=check,
                on_event=listen,
            ),
            on_event,
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
    ) -> Run:
        """Begin an upload in the engine thread and return at once.

        ``on_event`` is called in that thread.
        """

        async def start() -> AsyncRun:
            return self._inner.start(
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

        return Run(THREAD.run(start()))

    def resume(
        self,
        job_id: str,
        *,
        source: str | os.PathLike[str] | None = None,
        takeover: bool = False,
        on_event: OnEvent | None = None,
    ) -> RemoteFile:
        """Go on with a job and wait for it; see :meth:`chunkup.AsyncUploader.resume`."""
        return _noted(
            lambda listen: self._inner.resume(
                job_id, source=source, takeover=takeover, on_event=listen
            ),
            on_event,
        )

    def settle(
        self,
        job_id: str,
        *,
        accept: str | None = None,
        again: bool = False,
        on_event: OnEvent | None = None,
    ) -> RemoteFile:
        """Decide about a job in doubt; see :meth:`chunkup.AsyncUploader.settle`."""
        return _noted(
            lambda listen: self._inner.settle(job_id, accept=accept, again=again, on_event=listen),
            on_event,
        )

    def upload_all(  # noqa: PLR0913  (as upload)
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
    ) -> Iterator[Result]:
        """Upload many files; see :meth:`chunkup.AsyncUploader.upload_all`.

        They are sent while the caller waits for the next result or works on the last one.
        """
        return _given(
            self._inner.upload_all(
                paths,
                purpose=purpose,
                mime_type=mime_type,
                expires_after=expires_after,
                method=method,
                fresh=fresh,
                check=check,
                split=split,
                manifest=manifest,
                skip_existing=skip_existing,
                fail_fast=fail_fast,
                on_event=on_event,
            )
        )

    def resume_all(
        self, *, any_age: bool = False, on_event: OnEvent | None = None
    ) -> Iterator[Result]:
        """Go on with all that stopped; see :meth:`chunkup.AsyncUploader.resume_all`."""
        return _given(self._inner.resume_all(any_age=any_age, on_event=on_event))

    def verify(
        self, manifest: str | os.PathLike[str], *, content: bool = True
    ) -> Iterator[Verified]:
        """Ask about each File of a manifest; see :meth:`chunkup.AsyncUploader.verify`."""
        return _given(self._inner.verify(manifest, content=content))

    def jobs(self) -> list[JobInfo]:
        """Every job that the journal holds, oldest first."""
        return THREAD.run(self._inner.jobs())

    def stop(self, job_id: str) -> bool:
        """Stop a job, wherever on this machine it runs; see :meth:`chunkup.AsyncUploader.stop`."""
        return THREAD.run(self._inner.stop(job_id))

    def cancel(self, job_id: str) -> RemoteFile | None:
        """End a job, here and on the server; see :meth:`chunkup.AsyncUploader.cancel`."""
        return THREAD.run(self._inner.cancel(job_id))


def upload(  # noqa: PLR0913  (as Uploader.upload)
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
    **settings: Unpack[Settings],
) -> RemoteFile:
    """Upload a file and wait for it; the same call again continues an unfinished upload.

    See :meth:`chunkup.AsyncUploader.upload` for the arguments and errors, and
    :class:`chunkup.AsyncUploader` for ``settings``. Works in a thread with a running loop too.

    Raises:
        KeyboardInterrupt: On Ctrl-C, after the run stopped and kept its receipts; a note on it
            says how to go on.
    """
    with Uploader(**settings) as uploader:
        return uploader.upload(
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


def resume(
    job_id: str,
    *,
    source: str | os.PathLike[str] | None = None,
    takeover: bool = False,
    on_event: OnEvent | None = None,
    **settings: Unpack[Settings],
) -> RemoteFile:
    """Go on with a job and wait for it; see :meth:`chunkup.AsyncUploader.resume`."""
    with Uploader(**settings) as uploader:
        return uploader.resume(job_id, source=source, takeover=takeover, on_event=on_event)


def _noted(
    work: Callable[[OnEvent], Coroutine[Any, Any, RemoteFile]], on_event: OnEvent | None
) -> RemoteFile:
    """Carry out what one job is about; an interruption says how to go on with it."""
    job_id: str | None = None

    def listen(event: events.Event) -> None:
        nonlocal job_id
        job_id = event.job or job_id
        if on_event is not None:
            on_event(event)

    try:
        return THREAD.run(work(listen))
    except KeyboardInterrupt as error:
        _note(error, job_id)
        raise


def _note(error: KeyboardInterrupt, job_id: str | None) -> None:
    if job_id is not None:
        error.add_note(f"what was accepted is kept; go on with chunkup.resume({job_id!r})")


def _given(results: AsyncGenerator[_Item]) -> Iterator[_Item]:
    """What an asynchronous generator gives; leaving early stops what it does."""
    try:
        while (result := THREAD.run(_next(results))) is not None:
            yield result
    except KeyboardInterrupt as error:
        error.add_note("what was accepted is kept; the same call goes on")
        raise
    finally:
        # On the engine's thread this is the garbage collector, and the loop closes it itself.
        if not THREAD.is_current():
            THREAD.run(_closed(results))


# A generator belongs to the loop in which it is first asked for something.
async def _next(results: AsyncGenerator[_Item]) -> _Item | None:
    return await anext(results, None)


async def _closed(results: AsyncGenerator[_Item]) -> None:
    await results.aclose()
