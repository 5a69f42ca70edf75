"""The demo, as the README's first command runs it, on a file of one's own."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from house import make_source

from chunkup.cli.demo import _Stage
from chunkup.errors import Failed


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "chunkup", "demo", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_demo_kills_resumes_and_compares(tmp_path: Path) -> None:
    source = tmp_path / "own.bin"
    md5 = make_source(source, 3_000_001)
    done = run(str(source))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(md5) == 2
    assert "kill -9" in done.stdout
    sent, missing = re.findall(r"sent (\d+) bytes; (\d+) had no receipt", done.stdout)[0]
    assert sent == missing
    assert 0 < int(missing) <= 0.6 * 3_000_001
    assert "Traceback" not in done.stderr


def test_demo_refuses_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for name in ("empty", "nowhere", "."):
        done = run(str(tmp_path / name))
        assert done.returncode == 2, done.stderr
        assert "hint: " in done.stderr


async def test_demo_fails_if_a_part_with_a_receipt_travels_twice(tmp_path: Path) -> None:
    source = tmp_path / "own.bin"
    make_source(source, 300_000)
    async with _Stage(source, tmp_path) as stage:
        line = await stage.upload_and_kill()
        assert line.done >= 0.4 * 300_000
        # As if the journal had held one part more than the resumed run believed.
        stage._receipts += 6000
        file_id = await stage.resume()
        with pytest.raises(Failed, match="travelled twice"):
            stage.compare(file_id)
