"""A big file killed five times at random and resumed: what travels twice, and at what memory?

    python benchmarks/five_kills.py [GIB] [SEED]

Starts `chunkup serve`, writes GIB of random bytes (4), uploads with `chunkup upload`, sends
SIGKILL five times at random moments, resumes with `chunkup resume`, and prints a table. Fails
if the MD5 differs or a part with a receipt was sent again.
"""

import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sqlite_utils import Database

KILLS = 5
PART = 64 << 20


def write_random(path: Path, size: int) -> str:
    md5 = hashlib.md5(usedforsecurity=False)
    with path.open("wb") as out:
        while size:
            block = os.urandom(min(size, 1 << 24))
            out.write(block)
            md5.update(block)
            size -= len(block)
    return md5.hexdigest()


def receipts(journal: Path) -> tuple[int, int]:
    """Bytes and number of parts with receipts."""
    try:
        db = Database(journal, execute_plugins=False)
        row = db.execute("SELECT coalesce(sum(stop - start), 0), count(*) FROM parts").fetchone()
        db.close()
    except Exception:  # noqa: BLE001  (not made yet)
        return 0, 0
    return int(row[0]), int(row[1])


def main() -> None:
    size = int(float(sys.argv[1]) * (1 << 30)) if len(sys.argv) > 1 else 4 << 30
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1 << 32)
    dice = random.Random(seed)
    chunkup = [sys.executable, "-m", "chunkup"]
    with tempfile.TemporaryDirectory(prefix="five-kills-") as name:
        folder = Path(name)
        source, journal, kept = folder / "big.bin", folder / "state" / "j.db", folder / "server"
        md5 = write_random(source, size)
        server = subprocess.Popen(
            [*chunkup, "serve", "--dir", str(kept), "--no-key"], stdout=subprocess.PIPE, text=True
        )
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        where = ["--base-url", url, "--no-key", "--journal", str(journal), "--quiet"]
        print(f"{size} bytes, seed {seed}")
        print("run  command  parts with receipts  peak RSS MB  seconds")
        command = ["upload", str(source), "--purpose", "user_data"]
        for run in range(KILLS + 1):
            began = time.monotonic()
            process = subprocess.Popen([*chunkup, *command, *where], stdout=subprocess.PIPE)
            if run < KILLS:
                # Kill once a random few more parts have receipts, at a random moment after.
                _, before = receipts(journal)
                goal = before + dice.randint(1, max(1, size // PART // (KILLS + 2)))
                while receipts(journal)[1] < goal and process.poll() is None:
                    time.sleep(0.005)
                time.sleep(dice.random() * 0.2)
                process.send_signal(signal.SIGKILL)
            assert process.stdout is not None
            said = process.stdout.read().decode()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            took = time.monotonic() - began
            print(
                f"{run + 1:3}  {command[0]:7}  {receipts(journal)[1]:19}  "
                f"{usage.ru_maxrss / 1000:11.1f}  {took:7.1f}"
            )
            command = ["resume"]
        file_id = said.split()[0]
        server.terminate()
        server.wait()
        found = hashlib.md5(usedforsecurity=False)
        # Read by the server's own store, behind its back.
        from chunkup.server.store import Store  # noqa: PLC0415  (after it let go of the folder)

        store = Store(kept)
        for block in store.read_file(file_id):
            found.update(block)
        stored = sum(part.bytes for part in store.parts())
        store.close()
        print(f"MD5 {'equal' if found.hexdigest() == md5 else 'DIFFERS'}: {md5}")
        print(
            f"stored twice: {stored - size} bytes = {(stored - size) / PART:.1f} parts, "
            f"in {KILLS} kills of up to 16 parts in flight"
        )
        if found.hexdigest() != md5:
            sys.exit(1)


if __name__ == "__main__":
    main()
