"""Questions about Files: most of them look at one that they share."""

from typing import Any, Final

from chunkup.answers import read_file
from chunkup.models import RemoteFile
from chunkup.probe.bench import Bench
from chunkup.probe.replies import Reply, Untold
from chunkup.probe.uploads import HOUR, lives, same_name
from chunkup.probe.words import Ask, Found

# Seconds after which a File that is not there yet is looked for again.
_LOOKS: Final = (0.5, 1.0, 2.0)
_PAGE: Final = 100
_DOCUMENTED: Final = frozenset({"uploaded", "processed", "error"})


async def single(bench: Bench) -> Found:
    """One request, one File."""
    reply = await bench.post_file(bench.line())
    if reply.absent:
        return Found("absent", reply.seen)
    return Found("there" if reply.checked().taken else "refused", reply.seen)


async def fresh(bench: Bench) -> Found:
    """A File, asked for as soon as it was made."""
    file_id, _ = await bench.fresh_file()
    reply = (await bench.retrieve(file_id)).checked()
    if reply.taken:
        return Found("at-once", reply.seen)
    for wait in _LOOKS:
        await bench.wait(wait)
        if (await bench.retrieve(file_id)).taken:
            return Found("later", reply.seen)
    return Found("never", reply.seen)


async def size_told(bench: Bench) -> Found:
    """What a File says of its size."""
    file_id, content = await bench.shared_file()
    size = (await bench.retrieve(file_id)).needed().data.get("bytes")
    if size is None:
        return Found("null")
    return Found("right" if size == len(content) else "wrong", f"{size!r} bytes"[:40])


async def status(bench: Bench) -> Found:
    """The word for how far a File is."""
    file_id, _ = await bench.shared_file()
    word = (await bench.retrieve(file_id)).needed().word("status")
    if word is None:
        return Found("unsaid")
    return Found("known" if word in _DOCUMENTED else "own", ascii(word)[:40])


async def content(bench: Bench) -> Found:
    """The bytes of a File."""
    file_id, sent = await bench.shared_file()
    reply = await bench.content(file_id)
    if not reply.success:
        return Found("refused", reply.checked().seen)
    return Found("given" if reply.raw == sent else "other", f"{len(reply.raw)} bytes")


async def span(bench: Bench) -> Found:
    """Four bytes from the middle."""
    file_id, sent = await bench.shared_file()
    reply = await bench.content(file_id, "2-5")
    if reply.status == 206:
        return Found(
            "honoured" if reply.raw == sent[2:6] else "wrong", f"206, {len(reply.raw)} bytes"
        )
    if reply.success:
        return Found("ignored", f"{reply.status}, {len(reply.raw)} bytes")
    return Found("refused", reply.checked().seen)


async def deleted(bench: Bench) -> Found:
    """A File that is deleted, and then asked for."""
    file_id, _ = await bench.fresh_file()
    if not (await bench.delete(file_id)).checked().taken:
        return Found("kept", "it was not deleted")
    reply = await bench.retrieve(file_id)
    if reply.status in {404, 410}:
        return Found("gone", reply.seen)
    return Found("still-there" if reply.checked().taken else "other", reply.seen)


async def expiry(bench: Bench) -> Found:
    """The shortest life that the official API allows."""
    policy = (("expires_after[anchor]", "created_at"), ("expires_after[seconds]", str(HOUR)))
    reply = (await bench.post_file(bench.line(), more=policy)).checked()
    return lives(reply.data) if reply.taken else Found("refused", reply.seen)


def named(more: str) -> Ask:
    """A File of an unusual name, in one request."""

    async def ask(bench: Bench) -> Found:
        name = bench.name(more)
        reply = (await bench.post_file(bench.line(), name=name)).checked()
        if not reply.taken:
            return Found("refused", reply.seen)
        return same_name(reply.data.get("filename"), name)

    return ask


async def odd_purpose(bench: Bench) -> Found:
    """A purpose that nobody has."""
    reply = (await bench.post_file(bench.line(), purpose="chunkup-probe")).checked()
    return Found("taken" if reply.taken else "refused", reply.seen)


# --- lists ----------------------------------------------------------------------------------


def items(reply: Reply) -> list[RemoteFile]:
    """The Files of a page.

    Raises:
        Untold: It is none.
    """
    data: Any = reply.needed().data.get("data")
    if not isinstance(data, list):
        raise Untold("a list without data")
    return [read_file(item) for item in data]


async def _three(bench: Bench) -> None:
    """At least three Files of ours, so that there is something to turn pages of."""
    for _ in range(3 - len(bench.left.files)):
        await bench.fresh_file()


async def _page(bench: Bench, **query: str) -> list[RemoteFile]:
    return items(await bench.list_files(purpose=bench.purpose, **query))


async def listed(bench: Bench) -> Found:
    """Our own Files, in the first page."""
    await _three(bench)
    reply = await bench.list_files(purpose=bench.purpose, limit=str(_PAGE), order="desc")
    if reply.absent:
        return Found("absent", reply.seen)
    there = {file.id for file in items(reply)} & set(bench.left.files)
    return Found("there" if there else "missing", f"{len(there)} of {len(bench.left.files)}")


async def filtered(bench: Bench) -> Found:
    """Another purpose than ours must not list ours."""
    other = "assistants" if bench.purpose != "assistants" else "batch"
    reply = (await bench.list_files(purpose=other, limit=str(_PAGE))).checked()
    if not reply.taken:
        return Found("refused", reply.seen)
    wrong = [file for file in items(reply) if file.purpose not in {other, ""}]
    return Found("ignored" if wrong else "honoured", f"{len(wrong)} of another purpose")


async def limited(bench: Bench) -> Found:
    """One File, please."""
    found = await _page(bench, limit="1")
    return Found("honoured" if len(found) == 1 else "ignored", f"{len(found)} for 1")


async def cursor(bench: Bench) -> Found:
    """The page after the first."""
    first = await _page(bench, limit="2")
    if not first:
        return Found("ignored", "an empty page")
    reply = await bench.list_files(purpose=bench.purpose, limit="2", after=first[-1].id)
    if not reply.checked().taken:
        return Found("refused", reply.seen)
    second = items(reply)
    again = {file.id for file in first} & {file.id for file in second}
    return Found("ignored" if again or not second else "honoured", f"{len(again)} again")


async def sorted_by_age(bench: Bench) -> Found:
    """Both orders of the same page."""
    down = [file.id for file in await _page(bench, limit=str(_PAGE), order="desc")]
    up = [file.id for file in await _page(bench, limit=str(_PAGE), order="asc")]
    if len(down) < 2:
        return Found("ignored", f"{len(down)} Files")
    return Found("ignored" if down == up else "honoured")


async def more_to_come(bench: Bench) -> Found:
    """Whether ``has_more`` is true while there is more, and false where nothing is."""
    begin = (await bench.list_files(purpose=bench.purpose, limit="1", order="desc")).needed()
    newest = items(begin)
    if len(newest) != 1:
        return Found("whole", f"{len(newest)} for 1")
    if begin.data.get("has_more") is not True:
        return Found("hidden", f"has_more {begin.data.get('has_more')!r}"[:40])
    # Oldest first and after the newest there is nothing.
    query = {"purpose": bench.purpose, "limit": "1", "order": "asc", "after": newest[0].id}
    end = (await bench.list_files(**query)).needed()
    said = end.data.get("has_more")
    return Found("for-ever" if said is True else "true", f"has_more {said!r} at the end"[:40])
