"""An uploader whose only way to the server is a real nginx."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from house import HASTY, KEY, House
from nginx import nginx, origin

from chunkup import AsyncUploader, Options, RemoteFile

SIZE, PART = 160_000, 20_000
PATIENT: Final = replace(HASTY, retries=12, complete_timeout=60.0, workers=4)
ENOUGH: Final = 60.0


@asynccontextmanager
async def through(
    tmp_path: Path, text: str, *, options: Options = PATIENT, part: int = PART, also: str = ""
) -> AsyncIterator[AsyncUploader]:
    """An uploader whose only way to the server is an nginx of this configuration."""
    async with (
        nginx(tmp_path / "nginx", text, also=also) as [url],
        AsyncUploader(
            base_url=url,
            api_key=KEY,
            journal=tmp_path / "state" / "journal.db",
            part_size=part,
            options=options,
        ) as uploader,
    ):
        yield uploader


def plain(house: House, more: str = "") -> str:
    return f"{more} location / {{ proxy_pass {origin(house.url)}; }}"


def assert_the_one(house: House, file: RemoteFile, source: Path) -> None:
    assert [row.id for row in house.files] == [file.id]
    assert house.content(file.id) == source.read_bytes()
