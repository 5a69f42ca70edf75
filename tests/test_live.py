"""Against a real provider, with a real key. Never run by CI, and not yet by anybody."""

import os
from pathlib import Path

import openai
import pytest
from house import make_source

import chunkup
from chunkup.endpoint import resolve
from chunkup.probe import QUESTIONS, SKIPPED, UNCLEAR, Bench, Course
from chunkup.transport import Transport

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(
        os.environ.get("CHUNKUP_LIVE") != "1" or not os.environ.get("OPENAI_API_KEY"),
        reason="talks to a real provider: set CHUNKUP_LIVE=1 and OPENAI_API_KEY",
    ),
]


async def test_two_small_parts_become_one_file(tmp_path: Path) -> None:
    source = tmp_path / "chunkup-live.txt"
    make_source(source, 1500)
    source.write_text(source.read_bytes().hex())
    async with chunkup.AsyncUploader(journal=tmp_path / "j" / "j.db", part_size=2000) as uploader:
        file = await uploader.upload(source, purpose="user_data", expires_after=3600)
    async with openai.AsyncOpenAI() as client:
        try:
            assert file.bytes in {None, source.stat().st_size}
            assert (await client.files.retrieve(file.id)).filename == source.name
        finally:
            await client.files.delete(file.id)


async def test_the_official_api_does_what_is_documented_or_recorded_of_it() -> None:
    """``chunkup probe``; what it finds of the unknown is printed, for whoever is the first."""
    transport = Transport(resolve())
    transport.open()
    try:
        bench = Bench(transport, purpose="batch")
        course = Course(bench, QUESTIONS, 60.0, lambda answered: None)
        await course.run()
    finally:
        await transport.close()
    for one in course.answered:
        print(one.question.name, one.found.word, one.found.seen, one.agrees)
    assert not bench.left.files
    assert bench.left.lost == 0
    assert {one.question.name for one in course.answered if one.found.word == SKIPPED} <= {
        "part-64mib"
    }
    assert [one for one in course.answered if one.agrees is False] == []
    assert [one for one in course.answered if one.found.word == UNCLEAR] == []
