"""Does the memory of a check follow the number of ids, of duplicates, or the length of a line?

    python benchmarks/check_memory.py

Checks generated batch files, each in a process of its own, and prints what that took: time, peak
resident memory, and the room in the folder for temporary files.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

CHECK = """
import asyncio, json, os, resource, sys, time
from dataclasses import replace
from pathlib import Path
from chunkup.preflight import Wish, spill, survey
from chunkup.providers import OPENAI
from chunkup.source import inspect

room = 0
close = spill.Spill.close

def measured(self):
    global room
    room = os.fstat(self._file.fileno()).st_size
    close(self)

spill.Spill.close = measured
limits = replace(OPENAI.limits, by_purpose=(), records=())
path, found = inspect(sys.argv[1])
wish = Wish("batch", "a.jsonl", "text/jsonl", limits, OPENAI)
start = time.process_time()
report = asyncio.run(survey(path, found, wish))
used = time.process_time() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
peak = peak * 1024 if sys.platform == "linux" else peak
print(json.dumps([report.size, report.lines, sum(report.counts.values()), used, peak, room]))
"""
ROW = b'{"custom_id":"%s","method":"POST","url":"/v1/responses","body":{"model":"m"}}\n'


def numbered(count: int) -> Iterator[bytes]:
    for begin in range(0, count, 100_000):
        stop = min(begin + 100_000, count)
        yield b"".join([ROW % b"%d" % number for number in range(begin, stop)])


def long_ids(count: int) -> Iterator[bytes]:
    for begin in range(0, count, 10_000):
        yield b"".join(
            [ROW % (b"%d" % number).zfill(1000) for number in range(begin, begin + 10_000)]
        )


def equal(count: int) -> Iterator[bytes]:
    yield from numbered(200_000)
    for _ in range(200_000, count, 100_000):
        yield ROW % b"7" * 100_000


def long_line(size: int) -> Iterator[bytes]:
    head, tail = (ROW % b"7").split(b'"m"', 1)
    yield head + b'"m","input":"'
    for _ in range(size >> 20):
        yield b"x" * (1 << 20)
    yield b'"' + tail


CASES: list[tuple[str, Callable[[], Iterator[bytes]]]] = [
    ("1 line", lambda: numbered(1)),
    ("100,000 ids", lambda: numbered(100_000)),
    ("1,000,000 ids", lambda: numbered(1_000_000)),
    ("5,000,000 ids", lambda: numbered(5_000_000)),
    ("20,000,000 ids", lambda: numbered(20_000_000)),
    ("500,000 ids of 1000 bytes", lambda: long_ids(500_000)),
    ("5,000,000 times the same id", lambda: equal(5_000_000)),
    ("a line of 32 MiB", lambda: long_line(32 << 20)),
    ("a line of 1 GiB", lambda: long_line(1 << 30)),
]


def main() -> None:
    print(f"Python {sys.version.split()[0]}, msgspec {msgspec.__version__}")
    print(f"{'':30}{'MB':>8}{'found':>11}{'CPU s':>8}{'peak MB':>9}{'temp MB':>9}")
    with tempfile.TemporaryDirectory(prefix="check-memory-") as name:
        path = Path(name) / "a.jsonl"
        for title, content in CASES:
            with path.open("wb") as out:
                out.writelines(content())
            done = subprocess.run(
                [sys.executable, "-c", CHECK, str(path)],
                env={**os.environ, "TMPDIR": name},
                stdout=subprocess.PIPE,
                check=True,
            )
            size, _, found, used, peak, room = json.loads(done.stdout)
            print(
                f"{title:30}{size / 1e6:>8.0f}{found:>11,}{used:>8.1f}"
                f"{peak / 1e6:>9.0f}{room / 1e6:>9.0f}"
            )


if __name__ == "__main__":
    main()
