"""How fast is a file of batch lines checked?

    python benchmarks/check.py [MEGABYTES]

Prints MB/s of one core, by the processor's time and not by the clock on the wall, so that a busy
machine does not count: reading alone, `json.loads` of every line, the rules alone, and the whole
`survey` as `chunkup check` and every upload do it, with cutting and without checking. The
promise is 300 MB/s for lines of 0.5 to 2 KB.
"""

import asyncio
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from chunkup.models import Split
from chunkup.preflight import Wish, survey
from chunkup.providers import OPENAI
from chunkup.records import Check
from chunkup.source import fingerprint_of

BLOCK = 1 << 20
WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "or", "says so"]
FOREIGN = [
    "der",
    "flinke",
    "braune",
    "Fuchs",
    "springt",
    "über",
    "größere",
    "Hunde",
    "素早い",
    "狐",
]


def batch_line(number: int, size: int, words: list[str], chance: random.Random) -> bytes:
    """One request of about ``size`` bytes, escapes and all."""
    row = {
        "custom_id": f"request-{number}",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "gpt-4o-mini", "messages": [], "max_tokens": 1000},
    }
    bare = len(json.dumps(row))
    if size > bare + 100:
        text = " ".join(chance.choices(words, k=(size - bare - 90) // 5))
        text = text.replace(" quick", '\n"quick"')
        row["body"] = {
            **row["body"],  # type: ignore[dict-item]
            "messages": [
                {"role": "system", "content": "You are a helpful assistant."},
                {"role": "user", "content": text},
            ],
        }
    else:
        row["body"] = {"model": "m"}
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"


def blocks(path: Path) -> Iterator[bytes]:
    rest = b""
    with path.open("rb") as handle:
        while chunk := handle.read(BLOCK):
            end = chunk.rfind(b"\n") + 1
            yield rest + chunk[:end]
            rest = chunk[end:]


def read(path: Path) -> None:
    with path.open("rb", buffering=0) as handle:
        while handle.read(BLOCK):
            pass


def loads(path: Path) -> None:
    with path.open("rb") as handle:
        for line in handle:
            json.loads(line)


def rules(path: Path) -> None:
    check = Check("batch", OPENAI.limits, OPENAI, seen=lambda _id, _line, _offset: None)
    for data in blocks(path):
        check.feed(data)


def surveyed(path: Path, *, check: bool = True, split: Split | None = None) -> None:
    wish = Wish("batch", path.name, "text/jsonl", OPENAI.limits, OPENAI, check=check, split=split)
    report = asyncio.run(survey(str(path), fingerprint_of(path.stat()), wish))
    assert not report.errors, report.findings


WAYS: dict[str, Callable[[Path], None]] = {
    "read": read,
    "json.loads": loads,
    "rules": rules,
    "survey": lambda path: surveyed(path, split=Split()),
    "no check": lambda path: surveyed(path, check=False, split=Split()),
}


def best(way: Callable[[Path], None], path: Path) -> float:
    """Megabytes a second of the best of three."""
    taken = []
    for _ in range(3):
        began = time.process_time()
        way(path)
        taken.append(time.process_time() - began)
    return path.stat().st_size / 1e6 / min(taken)


def main() -> None:
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else 64
    print(f"Python {sys.version.split()[0]}, msgspec {msgspec.__version__}; MB/s a core")
    print("bytes a line" + "".join(f"{name:>12}" for name in WAYS))
    chance = random.Random(1)
    with tempfile.TemporaryDirectory(prefix="check-") as folder:
        for size, words in (
            (100, WORDS),
            (500, WORDS),
            (1000, WORDS),
            (2000, WORDS),
            (1000, FOREIGN),
        ):
            path = Path(folder) / f"{size}.jsonl"
            count = written = 0
            with path.open("wb") as out:
                while written < megabytes * 10**6:
                    written += out.write(batch_line(count, size, words, chance))
                    count += 1
            name = f"{written // count}" + (" utf-8" if words is FOREIGN else "")
            speeds = "".join(f"{best(way, path):12.0f}" for way in WAYS.values())
            print(f"{name:12}{speeds}")


if __name__ == "__main__":
    main()
