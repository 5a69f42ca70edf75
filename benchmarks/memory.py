"""Does memory follow the number of workers, or the size of the file?

    python benchmarks/memory.py

Uploads sparse files of growing size with growing numbers of workers to `chunkup serve`, and
prints the uploader's peak resident memory in MB.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import aiohttp

SIZES = (256 << 20, 1 << 30, 2 << 30)
WORKERS = (1, 4, 16, 32)


def main() -> None:
    chunkup = [sys.executable, "-m", "chunkup"]
    print(f"Python {sys.version.split()[0]}, aiohttp {aiohttp.__version__}; peak RSS in MB")
    print("workers" + "".join(f"{size >> 20:>10} MiB" for size in SIZES))
    with tempfile.TemporaryDirectory(prefix="memory-") as name:
        folder = Path(name)
        server = subprocess.Popen(
            [*chunkup, "serve", "--dir", str(folder / "server"), "--no-key"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        where = ["--base-url", url, "--no-key", "--journal", str(folder / "j.db"), "--quiet"]
        for workers in WORKERS:
            row = f"{workers:7}"
            for size in SIZES:
                source = folder / f"{size}.bin"
                with source.open("wb") as out:
                    out.truncate(size)
                command = [*chunkup, "upload", str(source), "-p", "user_data", *where]
                command += ["--workers", str(workers)]
                process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
                _, status, usage = os.wait4(process.pid, 0)
                assert status == 0
                process.returncode = 0
                row += f"{usage.ru_maxrss / 1000:>14.1f}"
            print(row)
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
