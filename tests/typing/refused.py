"""Calls that a type checker has to refuse: each line that ends in ``# refused``, and no other."""

import openai

import chunkup
from chunkup import events


def listen_to_text(event: str) -> None: ...


async def listen_slowly(event: events.Event) -> None: ...


def blocking() -> None:
    chunkup.upload("a")  # refused
    chunkup.upload("a", "batch")  # refused
    chunkup.upload(b"a", purpose="batch")  # refused
    chunkup.upload("a", purpose=None)  # refused
    chunkup.upload("a", purpose="batch", expires_after="1h")  # refused
    chunkup.upload("a", purpose="batch", purpos="batch")  # refused
    chunkup.upload("a", purpose="batch", on_event=listen_to_text)  # refused
    chunkup.upload("a", purpose="batch", options=chunkup.Options(worker=4))  # refused
    chunkup.upload("a", purpose="batch", part_size="64MiB")  # refused
    chunkup.upload(["a", "b"], purpose="batch")  # refused
    chunkup.resume(7)  # refused
    chunkup.Uploader("sk-key")  # refused
    chunkup.Uploader.from_openai("sk-key")  # refused
    chunkup.Uploader.from_openai(openai.OpenAI(), timeout=3)  # refused
    uploader = chunkup.Uploader()
    uploader.with_options(worker=1)  # refused
    uploader.with_options(workers="1")  # refused
    uploader.upload_all(["a"], purpose="batch", filename="x")  # refused
    print(uploader.start("a", purpose="batch").id)  # refused
    uploader.aclose()  # refused
    file: str = uploader.upload("a", purpose="batch")  # refused
    size: int = uploader.upload("a", purpose="batch").bytes  # refused
    print(file, size)
    for result in uploader.upload_all(["a"], purpose="batch"):
        print(result.file.id)  # refused
    chunkup.Uplaoder()  # refused


async def in_a_loop() -> None:
    uploader = chunkup.AsyncUploader()
    print(uploader.upload("a", purpose="batch").id)  # refused
    uploader.upload("a", purpose="batch", on_event=listen_slowly)  # refused
    with chunkup.AsyncUploader():  # refused
        pass
    for _ in uploader.upload_all(["a"], purpose="batch"):  # refused
        pass
    chunkup.Result("a", "b").path = "c"  # refused
    chunkup.Options().workers = 3  # refused
