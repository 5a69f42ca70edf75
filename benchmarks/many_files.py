"""Thousands of small files in one command: how fast, at what memory, with how many handles?

    python benchmarks/many_files.py [FILES] [SEED]

Writes FILES (10,000) files of up to 2,000 bytes into folders, and uploads them with one
`chunkup upload FOLDER --recursive --manifest` to `chunkup serve`: once to the end, and once with
SIGKILL in the middle and `chunkup resume`. Prints a table: peak resident memory, the most
descriptors and threads seen open at a time (from /proc, so Linux only), and how often the journal
was committed to. Fails if a file is not on the server byte for byte, or is there twice.
"""

import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from sqlite_utils import Database

CHUNKUP = [sys.executable, "-m", "chunkup"]
HEAD = (
    "run               files  seconds  files/s  user s peak RSS MB  handles  threads  commits  exit"
)


def write_files(folder: Path, count: int, dice: random.Random) -> Counter[str]:
    """Write the files, a hundred in a folder; the digests of their contents."""
    digests: Counter[str] = Counter()
    for number in range(count):
        if number % 100 == 0:
            home = folder / f"{number // 100:04}"
            home.mkdir(parents=True)
        content = b"%09d " % number + dice.randbytes(dice.randint(0, 1990))
        (home / f"{number:06}.txt").write_bytes(content)
        digests[hashlib.md5(content, usedforsecurity=False).hexdigest()] += 1
    return digests


def files_done(journal: Path) -> int:
    """How many jobs the journal says are completed."""
    try:
        db = Database(journal, execute_plugins=False)
        row = db.execute("SELECT count(*) FROM endings WHERE kind = 'completed'").fetchone()
        db.close()
    except Exception:  # noqa: BLE001  (not made yet)
        return 0
    return int(row[0])


def commits(journal: Path) -> int:
    """How often the journal was committed to: the change counter of SQLite's file header."""
    try:
        with journal.open("rb") as header:
            return int.from_bytes(header.read(28)[24:], "big")
    except FileNotFoundError:
        return 0


def open_now(pid: int) -> tuple[int, int]:
    """Descriptors and threads of a process."""
    try:
        home = Path(f"/proc/{pid}")
        return len(list((home / "fd").iterdir())), len(list((home / "task").iterdir()))
    except OSError:
        return 0, 0


def run(label: str, command: list[str], journal: Path, kill_at: int | None = None) -> str:
    """Run a command, perhaps until so many files are done; what it printed."""
    began, before, done = time.monotonic(), commits(journal), files_done(journal)
    handles = threads = 0
    looked = began
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen([*CHUNKUP, *command], stdout=out)
        while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            now = open_now(process.pid)
            handles, threads = max(handles, now[0]), max(threads, now[1])
            if kill_at is not None and time.monotonic() - looked > 0.25:
                looked = time.monotonic()
                if files_done(journal) >= kill_at:
                    process.send_signal(signal.SIGKILL)
                    break
            time.sleep(0.02)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        said = out.read().decode()
    took, files = time.monotonic() - began, files_done(journal) - done
    print(
        f"{label:16} {files:6} {took:8.1f} {files / took:8.0f} {usage.ru_utime:7.1f}"
        f" {usage.ru_maxrss / 1000:11.1f} {handles:8} {threads:8}"
        f" {commits(journal) - before:8}  {process.returncode}",
        flush=True,
    )
    assert process.returncode == (0 if kill_at is None else -signal.SIGKILL), said
    return said


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1 << 32)
    with tempfile.TemporaryDirectory(prefix="many-files-") as name:
        folder = Path(name)
        digests = write_files(folder / "data", count, random.Random(seed))
        print(f"{count} files, seed {seed}")
        print(HEAD)
        for killed in (False, True):
            journal = folder / f"state-{killed}" / "j.db"
            kept = folder / f"server-{killed}"
            server = subprocess.Popen(
                [*CHUNKUP, "serve", "--dir", str(kept), "--no-key"],
                stdout=subprocess.PIPE,
                text=True,
            )
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            where = ["--base-url", url, "--no-key", "--journal", str(journal), "--quiet"]
            manifest = folder / f"{killed}.manifest"
            command = ["upload", str(folder / "data"), "--recursive", "--purpose", "user_data"]
            command += ["--manifest", str(manifest), *where]
            if killed:
                run("upload, killed", command, journal, kill_at=count // 2)
                command = ["resume", *where]
            said = run(command[0], command, journal).splitlines()
            server.terminate()
            server.wait()
            check(kept, digests, said, manifest, folder / "data")


def check(kept: Path, digests: Counter[str], said: list[str], manifest: Path, data: Path) -> None:
    """Every file is on the server once, was printed in order, and is in the manifest."""
    from chunkup.server.store import Store  # noqa: PLC0415  (after the server let go of it)

    store = Store(kept)
    found = Counter(store.md5_of(file.id) for file in store.files())
    names = {file.id: file.filename for file in store.files()}
    store.close()
    assert found == digests, f"{(found - digests).total()} more, {(digests - found).total()} less"
    paths = [line.split("\t")[1] for line in said]
    assert paths == [str(path) for path in sorted(data.rglob("*.txt"))], "printed in another order"
    assert all(names[line.split("\t")[0]] == Path(line.split("\t")[1]).name for line in said)
    assert len(manifest.read_text().splitlines()) == len(names), "the manifest is not whole"


if __name__ == "__main__":
    main()
