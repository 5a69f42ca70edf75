"""The points at which a command can be when a signal comes, each brought about on purpose."""

import asyncio
import os
import pty
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import ills
import netns
import pytest
from aiohttp import web
from house import Handler, call_of, drop
from signalled import LATE, UPLOAD, Stage, Way
from test_cli import AS_USED, SIZE
from test_cli_wait import saying

# --- the phases -------------------------------------------------------------------------------


async def loading(stage: Stage) -> Way:
    await stage.begin(*UPLOAD, before=(sys.executable, "-X", "importtime", "-m", "chunkup"))
    await stage.hear("inspect\n")  # early among what click takes
    return Way.AGAIN


async def loading_the_engine(stage: Stage) -> Way:
    await stage.begin(*UPLOAD, before=(sys.executable, "-X", "importtime", "-m", "chunkup"))
    await stage.hear("aiohttp.typedefs\n")
    return Way.AGAIN


async def reading_a_list(stage: Stage) -> Way:
    fifo = stage.shell.folder / "list"
    os.mkfifo(fifo)
    writer = os.open(fifo, os.O_RDWR)
    stage.at_end.append(lambda: os.close(writer))
    await stage.begin("upload", "--from-file", "list", *AS_USED)
    await stage.reads("list", least=0)
    return Way.AGAIN


def hole(folder: Path, name: str = "big.jsonl") -> None:
    """A file that takes minutes to read."""
    with (folder / name).open("wb") as file:
        file.truncate(200 << 30)


async def checking_first(stage: Stage) -> Way:
    hole(stage.shell.folder)
    await stage.begin("upload", "big.jsonl", "-p", "batch", "--split")
    await stage.reads("big.jsonl")
    return Way.AGAIN


async def check(stage: Stage) -> Way:
    hole(stage.shell.folder)
    await stage.begin("check", "big.jsonl", "-p", "batch", "--split")
    await stage.reads("big.jsonl")
    return Way.AGAIN


async def mending(stage: Stage) -> Way:
    hole(stage.shell.folder)
    await stage.begin("check", "big.jsonl", "-p", "batch", "--fix")
    await stage.reads("big.jsonl")
    return Way.AGAIN


async def creating(stage: Stage) -> Way:
    held = stage.hold("create")
    await stage.begin(*UPLOAD)
    await stage.sees(held)
    return Way.RESUME


async def parts_on_their_way(stage: Stage) -> Way:
    held = stage.hold("part", after=5)
    await stage.begin(*UPLOAD)
    await stage.sees(held)
    return Way.RESUME


async def backing_off(stage: Stage) -> Way:
    many = asyncio.Event()

    async def refuse(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "part":
            await request.read()
            if stage.shell.house.calls.count("part") > 20:
                many.set()
            return web.Response(status=503)
        return await handler(request)

    stage.shell.house.intercept = refuse
    await stage.begin(*UPLOAD)
    await stage.sees(many)
    return Way.RESUME


async def told_to_wait(stage: Stage) -> Way:
    async def throttle(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "part":
            await request.read()
            return web.Response(status=429, headers={"retry-after": "600"})
        return await handler(request)

    stage.shell.house.intercept = throttle
    await stage.begin(*UPLOAD)
    await stage.hear("wait")
    return Way.RESUME


async def offline(stage: Stage) -> Way:
    if netns.needs().args[0]:
        pytest.skip("a network of its own takes Linux and root")
    before = ("unshare", "--net", sys.executable, "-m", "chunkup")
    url = "https://192.0.2.1/v1"
    await stage.begin(*UPLOAD, before=before, OPENAI_BASE_URL=url, CHUNKUP_OFFLINE_WAIT="900")
    await stage.hear("unreachable")
    return Way.RESUME


async def proving(stage: Stage) -> Way:
    with (stage.shell.folder / "big.bin").open("wb") as file:
        file.truncate(4 << 30)
    held = stage.hold("part")
    await stage.begin("upload", "big.bin", "-p", "user_data")
    await stage.sees(held)
    return Way.LATER


async def completing(stage: Stage) -> Way:
    held = stage.unheard("complete")
    await stage.begin(*UPLOAD)
    await stage.sees(held)
    return Way.RESUME


async def looking_for_a_file(stage: Stage) -> Way:
    looked = asyncio.Event()

    async def lose(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "complete":
            await handler(request)
            return drop(request)
        if call_of(request) == "list":
            looked.set()
            await stage.go.wait()
        return await handler(request)

    stage.shell.house.intercept = lose
    await stage.begin(*UPLOAD)
    await stage.sees(looked)
    return Way.RESUME


async def committing(stage: Stage) -> Way:
    log = stage.shell.folder.parent / "calls"
    name, *words = ills.strace("fsync,fdatasync:delay_enter=20000", log=log)
    slow = (name, "-DDD", *words)
    held = stage.hold("part", after=2)
    await stage.begin(*UPLOAD, before=(*slow, sys.executable, "-m", "chunkup"))
    await stage.sees(held)
    return Way.RESUME


async def waiting_for_the_server(stage: Stage) -> Way:
    saying(stage.shell.house, ["uploaded"])
    await stage.begin(*UPLOAD, "--wait")
    while "retrieve" not in stage.shell.house.calls:  # noqa: ASYNC110  (it tells nobody)
        await asyncio.sleep(0.01)
    return Way.RESUME


async def many(stage: Stage) -> Way:
    names = [f"{place}.bin" for place in range(12)]
    stage.shell.make(*names)
    held = stage.hold("part", after=6)
    await stage.begin("upload", *names, *AS_USED)
    await stage.sees(held)
    return Way.RESUME


async def resuming(stage: Stage) -> Way:
    await stage.shell.half_sent()
    held = stage.hold("part", after=3)
    await stage.begin("resume")
    await stage.sees(held)
    return Way.RESUME


async def a_single_request(stage: Stage) -> Way:
    held = stage.hold("post")
    await stage.begin("files", "create", "a.bin", "-p", "user_data")
    await stage.sees(held)
    return Way.LATER


async def with_a_manifest(stage: Stage) -> Way:
    stage.shell.make("b.bin", "c.bin")
    held = stage.unheard("complete", after=2)
    await stage.begin("upload", "a.bin", "b.bin", "c.bin", *AS_USED, "--manifest", "m")
    await stage.sees(held)
    return Way.RESUME


async def standard_input(stage: Stage) -> Way:
    readable, writable = os.pipe()
    stage.at_end += [lambda: os.close(readable), lambda: os.close(writable)]
    os.write(writable, b"x" * 5000)
    await stage.begin("upload", "-", "-p", "user_data", stdin=readable)
    spool = stage.shell.journal.with_name(stage.shell.journal.name + "-spool")
    while not (spool.is_dir() and any(spool.iterdir())):  # noqa: ASYNC110  (nor does a folder)
        await asyncio.sleep(0.01)
    return Way.AGAIN


NAMELESS = """
import socket, sys, threading
def never(*what, **how):
    sys.stderr.write("asked for a name\\n")
    threading.Event().wait()
socket.getaddrinfo = never
from chunkup.cli.main import main
main()
"""


async def looking_up_a_name(stage: Stage) -> Way:
    words = (sys.executable, "-c", NAMELESS)
    await stage.begin(*UPLOAD, before=words, OPENAI_BASE_URL="https://nobody.example/v1")
    await stage.hear("asked for a name")
    return Way.RESUME


async def shaking_hands(stage: Stage) -> Way:
    met = asyncio.Event()

    async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        met.set()
        await stage.go.wait()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    stage.at_end.append(server.close)
    port = server.sockets[0].getsockname()[1]
    await stage.begin(*UPLOAD, OPENAI_BASE_URL=f"https://127.0.0.1:{port}/v1")
    await stage.sees(met)
    return Way.RESUME


async def downloading(stage: Stage) -> Way:
    done = await stage.shell.upload("a.bin")
    half = asyncio.Event()

    async def stall(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) != "content":
            return await handler(request)
        answer = web.StreamResponse(headers={"content-length": str(SIZE)})
        await answer.prepare(request)
        await answer.write(b"x" * 5000)
        half.set()
        await stage.go.wait()
        return answer

    stage.shell.house.intercept = stall
    await stage.begin("files", "download", done.out.strip(), "-o", "b.bin")
    await stage.sees(half)
    return Way.RESUME


async def listing(stage: Stage) -> Way:
    held = stage.hold("list")
    await stage.begin("files", "list")
    await stage.sees(held)
    return Way.AGAIN


async def deleting(stage: Stage) -> Way:
    done = await stage.shell.upload("a.bin")
    held = stage.hold("delete")
    await stage.begin("files", "delete", "--yes", done.out.strip())
    await stage.sees(held)
    return Way.LATER


async def verifying(stage: Stage) -> Way:
    await stage.shell.upload("a.bin", "--manifest", "m")
    held = stage.hold("retrieve")
    await stage.begin("verify", "m")
    await stage.sees(held)
    return Way.RESUME


async def probing(stage: Stage) -> Way:
    held = stage.hold("part")
    await stage.begin("probe")
    await stage.sees(held)
    return Way.AGAIN


async def doctoring(stage: Stage) -> Way:
    held = stage.hold("list")
    await stage.begin("doctor")
    await stage.sees(held)
    return Way.AGAIN


async def cancelling(stage: Stage) -> Way:
    job = await stage.shell.half_sent()
    held = stage.hold("cancel")
    await stage.begin("cancel", job)
    await stage.sees(held)
    return Way.RESUME


async def a_question(stage: Stage) -> Way:
    controller, terminal = pty.openpty()
    stage.at_end.append(lambda: os.close(controller))
    await stage.begin("files", "delete", "file-1", stdin=terminal, stdout=terminal, stderr=terminal)
    os.close(terminal)
    seen = b""
    while b"[y/N]: " not in seen:
        seen += await asyncio.wait_for(asyncio.to_thread(os.read, controller, 1000), LATE)
    return Way.OVER


async def serving(stage: Stage) -> Way:
    process = await stage.begin("serve", "--dir", "served", "--no-key")
    assert process.stdout is not None
    url = (await asyncio.wait_for(process.stdout.readline(), LATE)).decode().strip()
    host, port = url.removeprefix("http://").removesuffix("/v1").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    stage.at_end.append(writer.close)
    writer.write(b"POST /v1/uploads HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
    await writer.drain()
    return Way.OVER


Reach = Callable[[Stage], Awaitable[Way]]
PHASES: tuple[Reach, ...] = (
    *(loading, loading_the_engine, reading_a_list, checking_first, check, mending, creating),
    *(parts_on_their_way, backing_off, told_to_wait, offline, proving, completing),
    *(looking_for_a_file, committing, waiting_for_the_server, many, resuming, a_single_request),
    *(with_a_manifest, standard_input, looking_up_a_name, shaking_hands, downloading, listing),
    *(deleting, verifying, probing, doctoring, cancelling, a_question, serving),
)
