"""nginx on loopback: a real server between, as many people have one.

    async with nginx(folder, f"location / {{ proxy_pass {origin(house.url)}; }}") as [url]:

Every text is the inside of one ``server`` block, and ``url`` its base URL. The sockets are made
here and handed over as nginx hands them to its own successor, so that no port is guessed, and
whoever connects before nginx is up simply waits.
"""

import asyncio
import grp
import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from counterparts import missing

# Its package is nginx-light.
_NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")

_FRAME = """
user {user};
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 256; }}
http {{
    access_log off;
    default_type application/octet-stream;
    client_max_body_size 0;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    proxy_http_version 1.1;
    {also}
    {servers}
}}
"""


def origin(base_url: str) -> str:
    """A base URL without its path, for ``proxy_pass``, which then leaves paths as they are."""
    return base_url.removesuffix("/v1")


@asynccontextmanager
async def nginx(folder: Path, *servers: str, also: str = "") -> AsyncIterator[list[str]]:
    """Run one nginx with these servers; their base URLs, ``https`` where they hold a certificate.

    ``folder`` is made, and keeps configuration, temporary files and ``error.log``. ``also`` is
    what all servers share, such as zones.
    """
    if _NGINX is None:
        missing("nginx", "nginx is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in servers]
        blocks, urls = [], []
        for text, sock in zip(servers, sockets, strict=True):
            sock.bind(("127.0.0.1", 0))
            sock.listen(128)
            sock.setblocking(False)  # noqa: FBT003  (a method of the standard library)
            place = f"127.0.0.1:{sock.getsockname()[1]}"
            tls = "ssl_certificate " in text
            blocks.append(f"server {{ listen {place}{' ssl' if tls else ''}; {text} }}")
            urls.append(f"{'https' if tls else 'http'}://{place}/v1")
        config = folder / "nginx.conf"
        frame = {"user": _user(), "folder": folder, "also": also, "servers": "\n".join(blocks)}
        config.write_text(_FRAME.format(**frame))
        command = [_NGINX, "-p", str(folder), "-c", str(config), "-e", str(folder / "error.log")]
        tried = subprocess.run(  # noqa: ASYNC221  (a few milliseconds)
            [*command, "-t", "-q"], capture_output=True, text=True, check=False
        )
        assert tried.returncode == 0, tried.stderr
        numbers = [sock.fileno() for sock in sockets]
        process = await asyncio.create_subprocess_exec(
            *command,
            env={"NGINX": "".join(f"{number};" for number in numbers)},
            pass_fds=numbers,
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        for sock in sockets:
            sock.close()
        try:
            yield urls
            # One that died has refused connections since, and its log says why.
            assert process.returncode is None, (folder / "error.log").read_text()
        finally:
            if process.returncode is None:
                process.terminate()  # at once, its worker too
            await process.wait()


def _user() -> str:
    """Whoever runs the tests: a worker of another name could not write to their folders."""
    return f"{pwd.getpwuid(os.getuid()).pw_name} {grp.getgrgid(os.getgid()).gr_name}"
