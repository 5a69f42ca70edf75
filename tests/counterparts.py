"""Programs of others that our client and server meet: the real ones, from their own packages.

They are installed once, by their own package managers, into a cache folder outside the project,
and run on loopback alone. Where a package can't be had its tests are skipped, with a reason that
begins with ``counterpart:``; ``CHUNKUP_COUNTERPARTS`` names what must be there (``npm nginx``),
and what is named there fails instead. A package that is there and does not start always fails.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

import pytest

# What a program that is installed may take to accept, on a machine that does much else.
_ENOUGH: Final = 90.0
_INSTALL: Final = 160.0

# Loaded into every program of Node before it begins. It listens on loopback and on a free port,
# says which, reaches nobody beyond this machine, and ends when the process that began it does.
_LOOPBACK: Final = """'use strict';
const net = require('node:net');
const { listen } = net.Server.prototype;
const { connect } = net.Socket.prototype;
net.Server.prototype.listen = function (...given) {
  const then = given.filter((each) => typeof each === 'function');
  this.once('listening', () => process.stderr.write(`\\nlistening on ${this.address().port}\\n`));
  return listen.call(this, { host: '127.0.0.1', port: 0 }, ...then);
};
net.Socket.prototype.connect = function (...given) {
  const [first, second] = Array.isArray(given[0]) ? given[0] : given;
  const host = (first && typeof first === 'object' ? first.host : second) ?? 'localhost';
  if (['127.0.0.1', '::1', 'localhost'].includes(host) || first?.path) {
    return connect.apply(this, given);
  }
  process.nextTick(() => this.destroy(new Error(`${host} is not on this machine`)));
  return this;
};
process.stdin.on('end', () => process.exit()).resume();
"""
_LISTENING: Final = re.compile(r"^listening on (\d+)$", re.MULTILINE)

# Why something could not be installed in this process, so that it is not tried for every test.
_refused: dict[Path, str] = {}


def missing(what: str, why: str) -> NoReturn:
    """Skip for want of a counterpart; fail if this run says that it can be had."""
    if what in os.environ.get("CHUNKUP_COUNTERPARTS", "").split():
        pytest.fail(f"counterpart: {what} must be here, and is not: {why}", pytrace=False)
    pytest.skip(f"counterpart: {why}")


def installed(
    name: str, dependencies: Mapping[str, str], overrides: Mapping[str, str] | None = None
) -> Path:
    """The folder in which npm has put exactly these versions; made at the first call.

    Args:
        name: What the folder is called, for people who look into the cache.
        dependencies: npm packages with their versions.
        overrides: Versions of what those depend on in turn.
    """
    wanted = {"private": True, "dependencies": dict(dependencies), "overrides": overrides or {}}
    manifest = json.dumps(wanted, indent=2, sort_keys=True)

    def by_npm(folder: Path) -> None:
        for tool in ("node", "npm"):
            if shutil.which(tool) is None:
                raise _CannotBeHadError(f"{tool} is not installed")
        (folder / "package.json").write_text(manifest)
        _install(
            *("npm", "install", "--ignore-scripts", "--no-audit", "--no-fund"),
            *(
                "--no-update-notifier",
                "--fetch-retries=1",
                "--fetch-retry-mintimeout=500",
                "--fetch-timeout=60000",
            ),
            folder=folder,
        )
        (folder / "loopback.cjs").write_text(_LOOPBACK)

    return _cached("npm", name, manifest + _LOOPBACK, by_npm)


def installed_by_pip(name: str, *requirements: str, patience: float = _INSTALL) -> Path:
    """The folder of a virtual environment with exactly these; made at the first call."""

    def by_pip(folder: Path) -> None:
        _install(sys.executable, "-m", "venv", "--without-pip", str(folder), folder=folder)
        # Most of what is installed is never loaded, and need not be compiled.
        words = ("install", "--quiet", "--no-input", "--no-compile")
        pip = (sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), *words)
        _install(*pip, *requirements, folder=folder, patience=patience)

    # Scripts in a virtual environment name its folder, so it is made where it stays.
    return _cached("pip", name, "\n".join((*requirements, sys.version)), by_pip, moves=False)


class _CannotBeHadError(Exception):
    """A package could not be installed."""


def _cached(
    what: str, name: str, wanted: str, make: Callable[[Path], None], *, moves: bool = True
) -> Path:
    """The folder of a thing in the cache, made by one process while the others wait for it."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "chunkup-tests"
    folder = home / f"{name}-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}"
    done = folder / "installed"
    if folder in _refused:
        missing(what, _refused[folder])
    home.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if done.exists():
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        made = Path(tempfile.mkdtemp(dir=home, prefix="new-")) if moves else folder
        made.mkdir(exist_ok=True)
        try:
            make(made)
        except _CannotBeHadError as error:
            shutil.rmtree(made)
            _refused[folder] = f"{name} cannot be installed here: {error}"
            missing(what, _refused[folder])
        if moves:
            made.rename(folder)
        done.touch()
    return folder


def _install(*command: str, folder: Path, patience: float = _INSTALL) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=patience,
        )
    except subprocess.TimeoutExpired:
        raise _CannotBeHadError(f"{command[0]} took more than {patience:.0f} s") from None
    if done.returncode != 0:
        raise _CannotBeHadError(" ".join(done.stdout.split())[-300:])


@dataclass
class Counterpart:
    """A program that accepts connections. ``url`` is http, its address, and no path."""

    url: str
    process: subprocess.Popen[bytes]
    _log: Path
    _seen: int = 0

    @property
    def said(self) -> str:
        """All that it wrote so far, to either stream."""
        return self._log.read_text(errors="replace")

    def news(self) -> str:
        """What it wrote since this was last asked: for a test's own output."""
        said = self.said
        since, self._seen = self._seen, len(said)
        return said[since:]


@contextmanager
def started(
    command: Sequence[str],
    env: Mapping[str, str] | None = None,
    *,
    folder: Path | None = None,
    ready: Callable[[Counterpart], bool] | None = None,
) -> Iterator[Counterpart]:
    """Run a program until the block ends; the block begins once it accepts.

    Args:
        command: Its words. ``{port}`` in one of them stands for a free port, where the program
            must be told; a program of Node, of which ``installed`` made the folder, takes a free
            port by itself, whatever it is told.
        env: Its variables beside ``PATH``; it gets no others, so no key of ours.
        folder: What ``installed`` gave, and where the program is run.
        ready: Whether it is ready, asked again and again; that it accepts connections if None.
    """
    with tempfile.TemporaryDirectory(prefix="counterpart-") as scratch:
        log = Path(scratch) / "log"
        shim = folder / "loopback.cjs" if folder else None
        ours = {"PATH": os.environ["PATH"], "HOME": scratch, "TMPDIR": scratch, **(env or {})}
        if shim and shim.exists():
            ours["NODE_OPTIONS"] = f"--require {shim}"
        port = _free_port() if any("{port}" in word for word in command) else 0
        words = [word.replace("{port}", str(port)) for word in command]
        with log.open("wb") as out:
            process = subprocess.Popen(
                words,
                cwd=folder or scratch,
                env=ours,
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        counterpart = Counterpart("", process, log)
        try:
            _wait_until_it_accepts(counterpart, port, ready)
            yield counterpart
        finally:
            _stop(process)


def _wait_until_it_accepts(
    counterpart: Counterpart, port: int, ready: Callable[[Counterpart], bool] | None
) -> None:
    end = time.monotonic() + _ENOUGH
    while time.monotonic() < end:
        if counterpart.process.poll() is not None:
            break
        told = _LISTENING.search(counterpart.said)
        port = int(told[1]) if told else port
        counterpart.url = f"http://127.0.0.1:{port}"
        if port and _accepts(port) and (ready is None or ready(counterpart)):
            return
        time.sleep(0.05)
    code = counterpart.process.poll()
    state = "does not accept" if code is None else f"ended with {code}"
    pytest.fail(
        f"counterpart: {counterpart.process.args!r} is installed and {state}:\n"
        f"{counterpart.said[-3000:]}",
        pytrace=False,
    )


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End it and nothing else, gently if it listens to that."""
    assert process.stdin is not None
    process.stdin.close()
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
