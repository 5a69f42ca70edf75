"""Against a real provider, with a real key. Never run by CI, and not yet by anybody."""

import os
from pathlib import Path

import openai
import pytest
from house import make_source

import chunkup

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
