"""Does --limit-rate keep to its limit, whatever sends, and what does it cost?

    python benchmarks/limit_rate.py [SECONDS]

For several rates, numbers of workers and sizes of files, uploads as much as the limit lets through
in SECONDS (10) with `chunkup upload --limit-rate` through a relay that counts what goes up, and
prints what arrived a second as a share of the limit: all of the wire, and content alone. Bytes are
counted from the first one of content to the last.
"""

import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from yarl import URL

CHUNKUP = [sys.executable, "-m", "chunkup"]
# Bytes a second, workers, bytes of a file.
CASES = (
    (64e3, 1, 1 << 30),
    (64e3, 16, 1 << 30),
    (1e6, 1, 1 << 30),
    (1e6, 8, 1 << 30),
    (1e6, 16, 1 << 30),
    (1e6, 16, 50_000),
    (20e6, 1, 1 << 30),
    (20e6, 16, 1 << 30),
    (20e6, 64, 1 << 30),
)


@dataclass
class Relay:
    """A way to the server, in a thread, that counts what goes up on it."""

    target: URL
    came: list[tuple[float, int]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))

    @property
    def url(self) -> str:
        """The server's base URL by this way."""
        return str(self.target.with_port(self.listener.getsockname()[1]))

    def run(self) -> None:
        """Carry bytes between all pairs until it is over."""
        partner: dict[socket.socket, socket.socket] = {}
        clients: set[socket.socket] = set()
        while not self.over.is_set():
            for ready in select.select([self.listener, *partner], [], [], 0.2)[0]:
                if ready is self.listener:
                    client, _ = ready.accept()
                    server = socket.create_connection((self.target.host, self.target.port))
                    partner[client], partner[server] = server, client
                    clients.add(client)
                elif ready in partner:
                    self._carry(ready, partner, up=ready in clients)

    def _carry(
        self, ready: socket.socket, partner: dict[socket.socket, socket.socket], *, up: bool
    ) -> None:
        try:
            data = ready.recv(1 << 18)
            partner[ready].sendall(data)
        except OSError:
            data = b""
        if up and data:
            self.came.append((time.monotonic(), len(data)))
        if not data:
            other = partner.pop(ready)
            partner.pop(other, None)
            ready.close()
            other.close()

    def rate(self) -> float:
        """Bytes a second, without the requests before the first content."""
        first = next(at for at, size in self.came if size > 2000)
        return sum(size for at, size in self.came if at >= first) / (self.came[-1][0] - first)


def measure(url: str, folder: Path, case: tuple[float, int, int], seconds: float) -> str:
    """One row: the shares of the limit, and the seconds of CPU."""
    rate, workers, size = case
    total = int(rate * seconds)
    size = min(size, total)
    sources = folder / f"{rate:.0f}-{workers}-{size}"
    sources.mkdir()
    for number in range(-(-total // size)):
        (sources / f"{number:05}.bin").write_bytes(os.urandom(size))
    relay = Relay(URL(url))
    thread = threading.Thread(target=relay.run, daemon=True)
    thread.start()
    command = [*CHUNKUP, "upload", str(sources), "--recursive", "-p", "user_data", "--no-key"]
    command += ["--base-url", relay.url, "--journal", str(sources.with_suffix(".db")), "--quiet"]
    command += ["--limit-rate", f"{rate:.0f}B/s", "--workers", str(workers)]
    command += ["--part-size", str(max(64 << 10, total // max(8, 2 * workers)))]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    relay.over.set()
    thread.join()
    relay.listener.close()
    wire = relay.rate()
    content = wire * size * len(list(sources.iterdir())) / sum(size for _, size in relay.came)
    return (
        f"{rate / 1e3:8.0f} {workers:8} {size:10} {wire / rate:7.1%} {content / rate:8.1%}"
        f" {usage.ru_utime + usage.ru_stime:8.1f}"
    )


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    with tempfile.TemporaryDirectory(prefix="limit-rate-") as name:
        folder = Path(name)
        server = subprocess.Popen(
            [*CHUNKUP, "serve", "--dir", str(folder / "server"), "--no-key"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        print("    kB/s  workers  file size    wire  content    CPU s")
        for case in CASES:
            print(measure(url, folder, case, seconds), flush=True)
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
