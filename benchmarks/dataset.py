"""A dataset checked, split, uploaded, killed twice, resumed, verified: what time, what memory?

    python benchmarks/dataset.py [GB] [SEED]

Writes a batch file of GB (3) times 10^9 bytes in lines of about 1 KB, starts `chunkup serve`, and
runs the commands of the README as processes: `check`, `upload --split --manifest`, SIGKILL at two
random moments, `resume`, `verify`. Prints a table. Fails if a piece on the server is not its
range of the file, if the pieces do not tile it between lines and within the limits, or if a
request of the file came twice.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from sqlite_utils import Database

GB = 10**9
MOST_BYTES, MOST_LINES = 200 * 10**6, 50_000
LINE = (
    '{"custom_id":"request-%09d","method":"POST","url":"/v1/chat/completions","body":{"model":'
    '"gpt-4o-mini","messages":[{"role":"system","content":"You are a helpful assistant."},'
    '{"role":"user","content":"%s"}],"max_tokens":1000}}\n'
)
CHUNKUP = [sys.executable, "-m", "chunkup"]


def write_batch(path: Path, size: int, dice: random.Random) -> int:
    """Write at least so many bytes of requests; their number."""
    words = ["".join(dice.choices("abcdefghijklmnopqrstuvwxyzäöü", k=dice.randint(2, 9)))]
    words += ["".join(dice.choices("abcdefghijklmnop", k=dice.randint(2, 9))) for _ in range(4000)]
    prose = " ".join(dice.choices(words, k=40_000))
    number = written = 0
    with path.open("w", encoding="utf-8", buffering=1 << 20) as out:
        while written < size:
            start, length = dice.randrange(len(prose) - 2000), dice.randint(400, 1200)
            written += out.write(LINE % (number, prose[start : start + length]))
            number += 1
    return number


def files_done(journal: Path) -> int:
    """How many jobs the journal says are completed."""
    try:
        db = Database(journal, execute_plugins=False)
        row = db.execute("SELECT count(*) FROM endings WHERE kind = 'completed'").fetchone()
        db.close()
    except Exception:  # noqa: BLE001  (not made yet)
        return 0
    return int(row[0])


def run(
    label: str,
    arguments: list[str],
    *,
    size: int,
    kill: Callable[[], bool] | None = None,
    expected: int = 0,
) -> str:
    """Run a command, kill it once ``kill`` says so, print its row; what it printed."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen([*CHUNKUP, *arguments], stdout=out)
        while kill is not None and process.poll() is None:
            if kill():
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.01)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        said = out.read().decode()
    took = time.monotonic() - began
    code = process.returncode
    rate = "" if kill else f"{size / took / 1e6:.0f}"
    cpu = usage.ru_utime + usage.ru_stime
    print(
        f"{label:24} {took:7.1f} {cpu:7.1f} {rate:>6} {usage.ru_maxrss / 1000:11.1f}  {code}",
        flush=True,
    )
    assert code == (-signal.SIGKILL if kill else expected), said
    return said


def compare(source: Path, manifest: Path, kept: Path) -> tuple[int, int]:
    """Hold every File to its range, read behind the server's back; Files told of, and in all."""
    from chunkup.server.store import Store  # noqa: PLC0415  (after the server let go of it)

    entries = [json.loads(line) for line in manifest.read_text().splitlines()]
    entries.sort(key=lambda entry: entry["start"])
    store = Store(kept)
    line, stop = 1, 0
    with source.open("rb") as whole:
        for entry in entries:
            assert entry["start"] == stop, f"a gap before {entry['filename']}"
            assert entry["first_line"] == line, entry
            whole.seek(entry["start"])
            lines, ended = 0, b""
            for block in store.read_file(entry["file"]):
                assert block == whole.read(len(block)), f"{entry['filename']} differs"
                lines, ended = lines + block.count(b"\n"), block[-1:]
            stop = entry["stop"]
            assert whole.tell() == stop, f"{entry['filename']} has another length"
            assert ended == b"\n", f"{entry['filename']} ends inside a line"
            assert lines == entry["lines"] <= MOST_LINES, entry
            assert stop - entry["start"] == entry["bytes"] <= MOST_BYTES, entry
            line += lines
    assert stop == source.stat().st_size
    total = len(store.files())
    store.close()
    return len(entries), total


def main() -> None:
    size = int(float(sys.argv[1] if len(sys.argv) > 1 else 3) * GB)
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1 << 32)
    dice = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="dataset-") as name:
        folder = Path(name)
        source, manifest = folder / "big.jsonl", folder / "big.manifest"
        journal, kept = folder / "state" / "j.db", folder / "server"
        began = time.monotonic()
        requests = write_batch(source, size, dice)
        size = source.stat().st_size
        print(f"{size / GB:.2f} GB, {requests} requests, seed {seed}")
        print("step                     seconds     CPU   MB/s peak RSS MB  exit")
        print(f"{'write the file':24} {time.monotonic() - began:7.1f}")
        server = subprocess.Popen(
            [*CHUNKUP, "serve", "--dir", str(kept), "--no-key"], stdout=subprocess.PIPE, text=True
        )
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        here = ["--base-url", url]
        there = [*here, "--no-key", "--journal", str(journal), "--quiet"]
        purpose = ["--purpose", "batch"]
        run("check", ["check", str(source), *purpose, "--split", *here, "--quiet"], size=size)
        pieces = max(requests // MOST_LINES, size // MOST_BYTES) + 1
        goals = sorted(dice.sample(range(1, pieces), 2)) if pieces > 2 else [0, 1]
        command = ["upload", str(source), *purpose, "--split", "--manifest", str(manifest), *there]
        for number, goal in enumerate(goals, 1):
            later = dice.random() * 0.5

            def due(goal: int = goal, later: float = later) -> bool:
                if files_done(journal) < goal:
                    return False
                time.sleep(later)
                return True

            run(f"{command[0]}, killed", command, size=size, kill=due)
            print(f"  kill {number}: {files_done(journal)} Files were there, about {pieces} in all")
            command = ["resume", *there]
        said = run("resume", command, size=size)
        verified = run("verify", ["verify", str(manifest), *there], size=size)
        server.terminate()
        server.wait()
        told, total = compare(source, manifest, kept)
    print(f"{told} Files in the manifest, {total} on the server, each its range of the file")
    assert len(said.splitlines()) == told, said
    assert verified.count("ok\t") == told, verified
    assert total == told, "a piece came twice"


if __name__ == "__main__":
    main()
