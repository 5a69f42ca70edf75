"""Twenty million ids, compared exactly, in an address space that could not hold them."""

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# A dict of the fewer ones would take five times the room as well.
LONG = bool(os.environ.get("CHUNKUP_LONG"))
LINES = 20_000_000 if LONG else 4_000_000
# What the survey may take beside the interpreter and what it imports.
ROOM = 100 << 20

# The survey of one line says how much the imports and a thread take; that and ROOM is all there is.
SURVEY = """
import asyncio, json, resource, sys
from dataclasses import replace
from chunkup.preflight import Wish, survey
from chunkup.providers import OPENAI
from chunkup.source import inspect

room = int(sys.argv[2])
if room:
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
limits = replace(OPENAI.limits, by_purpose=(), records=())
wish = Wish("batch", "a.jsonl", "text/jsonl", limits, OPENAI)
said = []
path, found = inspect(sys.argv[1])
report = asyncio.run(
    survey(path, found, wish, tell=lambda one: said.append((one.code, one.line, one.message)))
)
with open("/proc/self/status") as status:
    peak = next(int(line.split()[1]) << 10 for line in status if line.startswith("VmPeak"))
print(json.dumps({"lines": report.lines, "said": said, "peak": peak,
                  "counts": [[*key, count] for key, count in report.counts.items()]}))
"""


def planted() -> dict[int, int]:
    """Line by line that has the id of an earlier one: of which."""
    far, near, nearer = (9973, 4001, 4003) if LONG else (1993, 797, 809)
    near_the_start = {LINES - far * number: 37 * number for number in range(1, 1001)}
    anywhere = {LINES - near * number: nearer * number for number in range(1, 2001)}
    return anywhere | near_the_start


def rows(twins: dict[int, int]) -> Iterator[bytes]:
    shape = b'{"custom_id":"%d","method":"POST","url":"/v1/responses","body":{"model":"m"}}\n'
    for begin in range(1, LINES + 1, 100_000):
        numbers = range(begin, begin + 100_000)
        yield b"".join([shape % twins.get(number, number) for number in numbers])


def survey(path: Path, room: int) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", SURVEY, str(path), str(room)],
        env={"TMPDIR": str(path.parent), "PATH": "", "MALLOC_ARENA_MAX": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert isinstance(answer, dict)
    return answer


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the address space")
@pytest.mark.timeout(600)
def test_millions_of_ids_are_compared_exactly_in_a_hundred_megabytes(tmp_path: Path) -> None:
    if shutil.disk_usage(tmp_path).free < 4 << 30:
        pytest.skip("less than 4 GB are free on this disk")
    assert resource.getrlimit(resource.RLIMIT_AS)[1] == resource.RLIM_INFINITY
    one, path = tmp_path / "one.jsonl", tmp_path / "ids.jsonl"
    twins = planted()
    try:
        with path.open("wb") as out:
            out.writelines(rows(twins))
        with path.open("rb") as start:
            one.write_bytes(start.readline())
        imports = survey(one, 0)["peak"]
        assert isinstance(imports, int)
        report = survey(path, imports + ROOM)
    finally:
        path.unlink(missing_ok=True)
    print(f"{imports=} peak={report['peak']}")
    assert report["lines"] == LINES
    assert report["counts"] == [["duplicate_custom_id", True, len(twins)]]
    said = report["said"]
    assert isinstance(said, list)
    assert sorted(said) == sorted(
        [
            "duplicate_custom_id",
            line,
            f'custom_id "{first}" is on line {first} as well',
        ]
        for line, first in twins.items()
    )
