"""Files as they are found: the standard library as records, and all JSON Lines in packages."""

import json
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_records import blocks_of, found

from chunkup.models import Limits, Split
from chunkup.providers import OPENAI
from chunkup.records import Check

LIBRARY = Path(sysconfig.get_paths()["stdlib"])
# Enough of it to have every kind of text, and soon done.
SOURCES = sorted(LIBRARY.glob("*.py"))


def as_batch(path: Path, text: str) -> dict[str, object]:
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}]}
    return {"custom_id": path.name, "method": "POST", "url": "/v1/chat/completions", "body": body}


def as_chat(path: Path, text: str) -> dict[str, object]:
    question = {"role": "user", "content": f"What is {path.name}?"}
    return {"messages": [question, {"role": "assistant", "content": text}]}


def sources() -> Iterator[tuple[Path, str]]:
    for path in SOURCES:
        yield path, path.read_text("utf-8") or "# nothing"


@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize(("purpose", "made"), [("batch", as_batch), ("fine-tune", as_chat)])
def test_the_standard_library_is_clean(purpose: str, made: object, *, ascii_only: bool) -> None:
    assert callable(made)
    rows = [json.dumps(made(path, text), ensure_ascii=ascii_only) for path, text in sources()]
    data = "\n".join(rows).encode()
    assert len(rows) > 100
    assert found(data, purpose, cuts=set(range(0, len(rows), 7))) == []


def test_the_standard_library_is_cut_and_whole_again() -> None:
    rows = [json.dumps(as_batch(path, text)).encode() + b"\n" for path, text in sources()]
    data = b"".join(rows)
    most = max(len(line) for line in rows)
    check = Check("batch", Limits(by_purpose=(("batch", most),)), OPENAI, split=Split())
    for block in blocks_of(data, set(range(0, len(rows), 11))):
        assert check.feed(block) == []
    assert check.close() == []
    pieces = [data[piece.span.start : piece.span.stop] for piece in check.pieces]
    assert b"".join(pieces) == data
    assert len(pieces) > 10
    for piece in pieces:
        assert len(piece) <= most
        assert all(json.loads(line) for line in piece.splitlines())


def packaged() -> list[Path]:
    """Whatever JSON Lines were installed along with packages."""
    folders = [Path(entry) for entry in sys.path if entry.endswith("-packages")]
    names = ("*.jsonl", "*.ndjson", "*.jsonl.txt")
    return sorted(path for folder in folders for name in names for path in folder.rglob(name))


def test_whatever_json_lines_are_installed_are_read() -> None:
    paths = packaged()
    if not paths:
        pytest.skip("no package here brings JSON Lines along")
    for path in paths:
        data = path.read_bytes()
        if not data:
            continue
        lines = [line for line in data.split(b"\n") if line.strip()]
        sound = all(_is_object(line) for line in lines)
        codes = {one.code for one in found(data, "evals") if one.error}
        assert (codes == set()) == sound, path
        for purpose in ("batch", "fine-tune"):
            found(data, purpose)


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line.decode()), dict)
    except ValueError:
        return False
