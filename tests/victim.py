"""A program that uploads and stops at every boundary until it is told to go on, or killed.

Arguments: base URL, journal, source, part size, workers, method. At each boundary it writes the
boundary's name as a line to stdout and waits for a line on stdin.
"""

import asyncio
import sys
import threading
from typing import Any

import aiohttp
from house import KEY
from sqlite_utils import Database

from chunkup import AsyncUploader, Options
from chunkup.journal.scribe import Scribe, Work
from chunkup.models import METHODS

_gate = threading.Lock()


def boundary(name: str) -> None:
    with _gate:
        sys.stdout.write(name + "\n")
        sys.stdout.flush()
        if not sys.stdin.readline():
            sys.exit(1)


def watch_commits() -> None:
    """Stop before each COMMIT reaches SQLite, and after each transaction is through."""
    carry_out = Scribe._carry_out

    def watched(self: Scribe, db: Database, batch: list[Work]) -> None:
        writes = any(work.writes for work in batch)

        def trace(statement: str) -> None:
            if statement == "COMMIT":
                boundary("before commit")

        db.conn.set_trace_callback(trace)
        carry_out(self, db, batch)
        if writes:
            boundary("after commit")

    Scribe._carry_out = watched  # type: ignore[method-assign]  # the point of this program


def watch_posts() -> aiohttp.TraceConfig:
    """Stop before each POST goes out, and when its answer has come."""
    config = aiohttp.TraceConfig()

    async def begin(_: Any, __: Any, params: aiohttp.TraceRequestStartParams) -> None:
        if params.method == "POST":
            boundary(f"before POST {params.url.path.rpartition('/')[2]}")

    async def end(_: Any, __: Any, params: aiohttp.TraceRequestEndParams) -> None:
        if params.method == "POST":
            boundary(f"after POST {params.url.path.rpartition('/')[2]}")

    config.on_request_start.append(begin)
    config.on_request_end.append(end)
    return config


async def main() -> None:
    url, journal, source, part_size, workers, name = sys.argv[1:]
    method = next(known for known in METHODS if known == name)
    watch_commits()
    async with AsyncUploader(
        base_url=url,
        api_key=KEY,
        journal=journal,
        part_size=int(part_size),
        options=Options(workers=int(workers)),
        trace_configs=[watch_posts()],
    ) as uploader:
        await uploader.upload(source, purpose="user_data", method=method)


if __name__ == "__main__":
    asyncio.run(main())
