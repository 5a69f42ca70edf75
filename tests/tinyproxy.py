"""A real proxy on loopback, started from its package.

To meet it, a server must seem to be elsewhere: what is on this machine is never reached through a
proxy. ``far`` writes an address of loopback as a name that only the system reads as one.
"""

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from counterparts import missing

_TINYPROXY = shutil.which("tinyproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
FAR = "127.1"


def far(base_url: str) -> str:
    """The same server, as if it were on another machine."""
    return base_url.replace("127.0.0.1", FAR)


@dataclass
class Proxied:
    """A running proxy. ``asked`` are the requests that it was sent, such as ``CONNECT h:443``.

    ``told`` is set at each of them.
    """

    host: str
    asked: list[str] = field(default_factory=list)
    told: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def with_password(self, user: str, password: str) -> str:
        return f"http://{user}:{password}@{self.host}"


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@asynccontextmanager
async def tinyproxy(folder: Path, *lines: str) -> AsyncIterator[Proxied]:
    """Run it with these more lines of configuration."""
    if _TINYPROXY is None:
        missing("tinyproxy", "tinyproxy is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "tinyproxy.conf"
    while True:
        port = _free_port()
        common = [f"Port {port}", "Listen 127.0.0.1", "Timeout 60", "LogLevel Connect"]
        config.write_text("\n".join([*common, *lines, ""]))
        process = await asyncio.create_subprocess_exec(
            *(_TINYPROXY, "-d", "-c", str(config)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        assert process.stdout is not None
        proxy, said = Proxied(f"127.0.0.1:{port}"), []
        async for line in process.stdout:
            said.append(line.decode())
            if b"done sending stored logs" in line:
                break
        else:
            await process.wait()
            # Somebody took the port meanwhile; anything else is a mistake in a test.
            assert any("bind" in line or "listen" in line for line in said), said
            continue
        break
    reading = asyncio.create_task(_listen(process.stdout, proxy))
    try:
        yield proxy
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        await reading


async def _listen(lines: asyncio.StreamReader, proxy: Proxied) -> None:
    async for line in lines:
        _, found, request = line.decode("utf-8", "replace").partition("): ")
        if found and "Request (file" in line.decode("utf-8", "replace"):
            proxy.asked.append(request.rpartition(" ")[0])
            proxy.told.set()
