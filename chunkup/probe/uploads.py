"""Questions about Uploads: each is asked with one of its own, of two lines in two parts."""

import base64
import hashlib
from collections.abc import AsyncGenerator, Callable
from typing import Final

from chunkup.answers import text_of
from chunkup.body import quoted
from chunkup.models import MIB, PART_SIZE
from chunkup.probe.bench import Bench
from chunkup.probe.replies import Reply, Untold
from chunkup.probe.words import Ask, Found

HOUR: Final = 3600
# Some servers count the life of an Upload from a moment of their own.
_SLACK: Final = 5


def _word(reply: Reply, yes: str = "taken", no: str = "refused") -> Found:
    """One word for a yes, one for a no.

    Raises:
        Untold: It is neither.
    """
    return Found(yes if reply.checked().taken else no, reply.seen)


async def there(bench: Bench) -> Found:
    """One that is opened and cancelled."""
    reply = await bench.open_upload(1)
    if reply.absent:
        return Found("absent", reply.seen)
    return _word(reply, "there")


async def life(bench: Bench) -> Found:
    """From the answer alone."""
    reply = (await bench.open_upload(1)).needed()
    born, end = reply.whole("created_at"), reply.whole("expires_at")
    if end is None or born is None:
        return Found("unsaid", "no expires_at" if end is None else "no created_at")
    seen = f"{end - born} s"
    if end <= born:
        return Found("nonsense", seen)
    return Found("hour" if abs(end - born - HOUR) <= _SLACK else "other", seen)


async def made(bench: Bench) -> Found:
    """Two parts, one File."""
    contents = bench.line(), bench.line()
    upload_id = await bench.begun(sum(map(len, contents)))
    ids = await bench.held(upload_id, *contents)
    reply = (await bench.complete(upload_id, ids)).checked()
    if not reply.taken:
        return Found("refused", reply.seen)
    return Found("file" if reply.inner("file") else "bare", reply.word("status") or reply.seen)


async def size_told(bench: Bench) -> Found:
    """In the answer to ``complete``."""
    _, reply = await bench.uploaded()
    size = reply.inner("file").get("bytes")
    if size is None:
        return Found("null")
    return Found("right" if size == reply.whole("bytes") else "wrong", f"{size!r} bytes"[:40])


async def moment(bench: Bench) -> Found:
    """The clock has to move on between the two, or they cannot be told apart."""
    contents = bench.line(), bench.line()
    opened = (await bench.open_upload(sum(map(len, contents)))).needed()
    upload_id = text_of(opened.data, "id")
    ids = await bench.held(upload_id, *contents)
    await bench.wait(1.1)
    file = (await bench.complete(upload_id, ids)).needed().inner("file")
    born, stamped = opened.whole("created_at"), file.get("created_at")
    if not isinstance(stamped, int) or born is None:
        return Found("unsaid")
    return Found("same" if stamped == born else "own", f"{stamped - born} s later")


async def order(bench: Bench) -> Found:
    """The second part goes first, and the list says otherwise."""
    first, second = bench.line(), bench.line()
    upload_id = await bench.begun(len(first + second))
    late, early = await bench.held(upload_id, second, first)
    file = (await bench.complete(upload_id, [early, late])).needed().inner("file")
    got = await bench.content(text_of(file, "id"))
    if not got.success:
        return Found("unseen", got.checked().seen)
    known = {first + second: "listed", second + first: "arrival"}
    return Found(known.get(got.raw, "mixed"), f"{len(got.raw)} bytes")


async def orphan(bench: Bench) -> Found:
    """The first part twice, as after a lost answer; only one of them is listed."""
    first, second = bench.line(), bench.line()
    upload_id = await bench.begun(len(first + second))
    ids = await bench.held(upload_id, first)
    again = (await bench.part(upload_id, first)).checked()
    last = (await bench.part(upload_id, second)).checked()
    for reply in (again, last):
        if not reply.taken:
            return Found("refuses-part", reply.seen)
    done = await bench.complete(upload_id, [*ids, text_of(last.data, "id")])
    if not done.checked().taken:
        return Found("refuses-complete", done.seen)
    size = done.inner("file").get("bytes")
    grown = isinstance(size, int) and size != len(first + second)
    return Found("counted" if grown else "ignored", done.seen)


async def subset(bench: Bench) -> Found:
    """The first of two parts is all that is listed."""
    contents = bench.line(), bench.line()
    upload_id = await bench.begun(sum(map(len, contents)))
    first, _ = await bench.held(upload_id, *contents)
    return _word(await bench.complete(upload_id, [first]))


async def empty_part(bench: Bench) -> Found:
    """No bytes at all."""
    upload_id = await bench.begun(1)
    return _word(await bench.part(upload_id, b""))


async def large_part(bench: Bench) -> Found:
    """64 MiB, of which nothing becomes a File."""

    async def zeros() -> AsyncGenerator[bytes]:
        block = bytes(MIB)
        for _ in range(PART_SIZE // MIB):
            yield block

    upload_id = await bench.begun(PART_SIZE)
    return _word(await bench.part(upload_id, zeros, PART_SIZE))


async def twice(bench: Bench) -> Found:
    """The same ``complete`` again, after it was answered."""
    contents = bench.line(), bench.line()
    upload_id = await bench.begun(sum(map(len, contents)))
    ids = await bench.held(upload_id, *contents)
    once = (await bench.complete(upload_id, ids)).needed().inner("file").get("id")
    again = (await bench.complete(upload_id, ids)).checked()
    if not again.taken:
        return Found("refused", again.seen)
    return Found("same" if again.inner("file").get("id") == once else "second", again.seen)


async def failed(bench: Bench) -> Found:
    """A ``complete`` with an id that is none, and then the right one."""
    contents = bench.line(), bench.line()
    upload_id = await bench.begun(sum(map(len, contents)))
    ids = await bench.held(upload_id, *contents)
    wrong = (await bench.complete(upload_id, [ids[0], f"{ids[1]}0"])).checked()
    if wrong.taken:
        return Found("not-refused", wrong.seen)
    return _word(await bench.complete(upload_id, ids), "open", "final")


def with_md5(write: Callable[[bytes], str], yes: str = "taken") -> Ask:
    """A ``complete`` with an MD5 in some way of writing."""

    async def ask(bench: Bench) -> Found:
        contents = bench.line(), bench.line()
        upload_id = await bench.begun(sum(map(len, contents)))
        ids = await bench.held(upload_id, *contents)
        digest = hashlib.md5(b"".join(contents), usedforsecurity=False).digest()
        return _word(await bench.complete(upload_id, ids, write(digest)), yes)

    return ask


def wrong_hex(digest: bytes) -> str:
    """The MD5 of something else."""
    return bytes(255 - byte for byte in digest).hex()


def lower_hex(digest: bytes) -> str:
    """As chunkup writes it."""
    return digest.hex()


def upper_hex(digest: bytes) -> str:
    """As some tools write it."""
    return digest.hex().upper()


def in_base64(digest: bytes) -> str:
    """As Content-MD5 has it."""
    return base64.b64encode(digest).decode()


async def cancel_bare(bench: Bench) -> Found:
    """Neither body nor content type."""
    return _word(await bench.cancel(await bench.begun(1)))


async def cancel_json(bench: Bench) -> Found:
    """An empty object."""
    return _word(await bench.cancel(await bench.begun(1), {}))


async def _cancelled(bench: Bench) -> str:
    upload_id = await bench.begun(1)
    bare = (await bench.cancel(upload_id)).checked()
    if not bare.taken:
        (await bench.cancel(upload_id, {})).needed()
    return upload_id


async def cancel_twice(bench: Bench) -> Found:
    """The same again."""
    upload_id = await _cancelled(bench)
    return _word(await bench.cancel(upload_id))


async def part_after(bench: Bench) -> Found:
    """A part for an Upload that was cancelled."""
    upload_id = await _cancelled(bench)
    return _word(await bench.part(upload_id, b"."))


async def cancel_completed(bench: Bench) -> Found:
    """A cancel of what has become a File, and whether that lives on."""
    upload_id, done = await bench.uploaded()
    reply = (await bench.cancel(upload_id)).checked()
    if not reply.taken:
        return Found("refused", reply.seen)
    file = await bench.retrieve(text_of(done.inner("file"), "id"))
    return Found("kept" if file.checked().taken else "gone", reply.seen)


async def user_data(bench: Bench) -> Found:
    """The one purpose of importance that half of the official pages leave out."""
    return _word(await bench.open_upload(1, purpose="user_data"))


def named(more: str) -> Ask:
    """A File of an unusual name, by way of an Upload."""

    async def ask(bench: Bench) -> Found:
        name = bench.name(more)
        reply = (await bench.open_upload(1, name=name)).checked()
        if not reply.taken:
            return Found("refused", reply.seen)
        upload_id = text_of(reply.data, "id")
        ids = await bench.held(upload_id, b"\n")
        file = (await bench.complete(upload_id, ids)).needed().inner("file")
        return same_name(file.get("filename"), name)

    return ask


def same_name(theirs: object, ours: str) -> Found:
    """What became of a name."""
    if theirs is None:
        raise Untold("no filename in the answer")
    if theirs == ours:
        return Found("kept")
    seen = ascii(theirs)[:80]
    return Found("spelled" if theirs == quoted(ours) else "changed", seen)


async def expiry(bench: Bench) -> Found:
    """The shortest life that the official API allows."""
    contents = bench.line(), bench.line()
    policy = {"anchor": "created_at", "seconds": HOUR}
    reply = (await bench.open_upload(sum(map(len, contents)), expires_after=policy)).checked()
    if not reply.taken:
        return Found("refused", reply.seen)
    upload_id = text_of(reply.data, "id")
    ids = await bench.held(upload_id, *contents)
    return lives((await bench.complete(upload_id, ids)).needed().inner("file"))


def lives(file: dict[str, object]) -> Found:
    """Whether a File ends when it was asked to."""
    born, end = file.get("created_at"), file.get("expires_at")
    if not isinstance(born, int) or not isinstance(end, int):
        return Found("ignored", "no expires_at")
    exact = abs(end - born - HOUR) <= _SLACK
    return Found("kept" if exact else "ignored", f"{end - born} s")
