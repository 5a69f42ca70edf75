"""The public calls as a program writes them; what a type checker says of each is pinned here.

This file is checked and never run.
"""

import logging
import os
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import assert_type

import openai

import chunkup
from chunkup import events


def blocking() -> None:
    file = chunkup.upload("train.jsonl", purpose="user_data")
    assert_type(file, chunkup.RemoteFile)
    assert_type(file.id, str)
    assert_type(file.bytes, int | None)
    chunkup.upload(
        Path("train.jsonl"),
        purpose="batch",
        filename="x.jsonl",
        mime_type="application/jsonl",
        expires_after=3600,
        fresh=True,
        on_event=print,
        base_url="http://127.0.0.1:1/v1",
        api_key=lambda: "sk-rotated",
        headers={"x-team": "a"},
        journal=Path("journal.db"),
        options=chunkup.Options(workers=4, stall_timeout=30),
        limits=chunkup.Limits(part=1 << 20),
        progress=None,
    )
    assert_type(chunkup.resume("k7f2m9", source="moved.jsonl"), chunkup.RemoteFile)

    with chunkup.Uploader(api_key=os.environ["OPENAI_API_KEY"]) as uploader:
        assert_type(uploader, chunkup.Uploader)
        run = uploader.start("big.jsonl", purpose="batch")
        assert_type(run, chunkup.Run)
        assert_type(run.ready(), str | None)
        assert_type(run.job_id, str | None)
        assert_type(run.progress, events.Progress | None)
        assert_type(run.wait(1.5), bool)
        assert_type(run.result(timeout=10), chunkup.RemoteFile)
        results = uploader.upload_all(["a.jsonl", Path("b.jsonl")], purpose="batch")
        assert_type(results, Iterator[chunkup.Result])
        for result in uploader.resume_all(any_age=True):
            assert_type(result.file, chunkup.RemoteFile | None)
            assert_type(result.error, chunkup.ChunkupError | None)
            assert_type(result.reused, bool)
        assert_type(uploader.jobs(), list[chunkup.JobInfo])
        assert_type(uploader.stop("k7f2m9"), bool)
        assert_type(uploader.cancel("k7f2m9"), chunkup.RemoteFile | None)
        assert_type(uploader.settle("k7f2m9", accept="file-1"), chunkup.RemoteFile)
        assert_type(uploader.with_options(workers=1, md5=False), chunkup.Uploader)
        uploader.close(grace=1)

    signed = chunkup.Uploader.from_openai(openai.OpenAI(), part_size=1 << 20, journal="journal.db")
    assert_type(signed, chunkup.Uploader)
    azure = openai.AsyncAzureOpenAI(api_version="2024-10-21")
    assert_type(chunkup.AsyncUploader.from_openai(azure), chunkup.AsyncUploader)


async def in_a_loop() -> None:
    async with chunkup.AsyncUploader(journal="journal.db") as uploader:
        assert_type(uploader, chunkup.AsyncUploader)
        assert_type(await uploader.upload("a", purpose="batch"), chunkup.RemoteFile)
        run = uploader.start("big.jsonl", purpose="batch", on_event=listen)
        assert_type(run, chunkup.AsyncRun)
        assert_type(await run, chunkup.RemoteFile)
        assert_type(await run.ready(), str | None)
        assert_type(await uploader.resume("k7f2m9"), chunkup.RemoteFile)
        results = uploader.upload_all(["a.jsonl"], purpose="batch")
        assert_type(results, AsyncGenerator[chunkup.Result, None])
        async for result in uploader.resume_all():
            assert_type(result, chunkup.Result)
        assert_type(await uploader.jobs(), list[chunkup.JobInfo])
        assert_type(await uploader.stop("k7f2m9"), bool)
        assert_type(uploader.with_options(retries=0, looks=(0.0,)), chunkup.AsyncUploader)


def listen(event: events.Event) -> None:
    match event:
        case events.PartAccepted(done=done, size=size):
            assert_type(done, int)
            assert_type(size, int)
        case events.Completed(file=file):
            assert_type(file, chunkup.RemoteFile)
        case _:
            assert_type(event.job, str)


def errors() -> None:
    try:
        chunkup.upload("a", purpose="batch")
    except chunkup.SourceChanged as error:
        assert_type(error.between_runs, bool)
    except chunkup.OutcomeUnknown as error:
        assert_type(error.candidates, tuple[str, ...])
    except (chunkup.Refused, chunkup.Failed, chunkup.Busy, chunkup.Stopped) as error:
        assert_type(error.code, str)
        assert_type(error.hint, str | None)
        assert_type(error.job_id, str | None)
        assert_type(error.retryable, bool)
        assert_type(error.request_id, str | None)
    except chunkup.ChunkupError as error:
        logging.getLogger(__name__).warning("%s", error)
