"""A bad day, drawn from a seed: files and sets on their way while everything goes wrong.

A world has a server, a journal and sources. Each step runs one command as a real process, mostly
with something that happens to it or to what is around it, and then holds the world to
:mod:`laws`. What is drawn depends on the seed and the number of the step alone, so that the same
seed has the same day again; only how far a process is when it is struck may differ.
"""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import laws
from ills import can_mount, small_disk
from laws import Ended, Law

from chunkup.testing import Server, serve
from chunkup.testing.serving import FaultNeverFired

KEY: Final = "sk-canary-ch405-d4y"
# Longer than any command here takes by itself; one that hangs is broken.
_PATIENCE: Final = 90.0
_CODES: Final = {0, 1, 2, 3, 4, 75, 129, 130, 143, -9}


@dataclass(frozen=True)
class Order:
    """A command that a person gives again and again until it is done."""

    sources: tuple[str, ...]
    flags: tuple[str, ...]
    purpose: str = "user_data"


ORDERS: Final = (
    Order(("a.bin", "b.bin", "c.bin"), ("--part-size", "1000", "--manifest", "three.jsonl")),
    Order(("d.jsonl",), ("--part-size", "4000", "--split-size", "12000"), "batch"),
    Order(("e.bin",), ("--method", "files")),
    Order(("f.bin",), ("--part-size", "2000")),
)
LARGEST_PART: Final = 4000
_SIZES: Final = {"a.bin": 12_345, "b.bin": 1, "c.bin": 40_000, "e.bin": 30_000, "f.bin": 9_000}

# Which requests, and what happens to them; the odds are their number in the list.
_FAULTS: Final[tuple[dict[str, Any], ...]] = (
    {"call": "part", "status": 503, "headers": {"retry-after-ms": "5"}, "times": 3},
    {"call": "part", "status": 429, "headers": {"retry-after-ms": "20"}, "times": 2},
    {"call": "part", "status": 500, "carried_out": True},
    {"call": "part", "drop_answer": True, "times": 2},
    {"call": "part", "reset": True, "after": 300, "times": 2},
    {"call": "part", "garble": True},
    {"call": "part", "delay": 0.2, "times": 5},
    {"call": "part", "cut": 10},
    {"call": "part", "status": 401},
    {"call": "part", "status": 400},
    {"call": "part", "hang": True},
    {"call": "complete", "drop_answer": True},
    {"call": "complete", "reset": True, "carried_out": False},
    {"call": "complete", "status": 500, "carried_out": True},
    {"call": "complete", "status": 503, "headers": {"retry-after-ms": "5"}, "times": 2},
    {"call": "complete", "cut": 20},
    {"call": "create", "drop_answer": True},
    {"call": "create", "status": 500, "times": 2},
    {"call": "create", "status": 429, "headers": {"retry-after-ms": "20"}},
    {"call": "file", "drop_answer": True},
    {"call": "file", "reset": True, "after": 9000},
    {"call": "file", "status": 503, "headers": {"retry-after-ms": "5"}},
    {"call": "list", "status": 500},
    {"call": "cancel", "drop_answer": True},
    {"call": "any", "status": 502, "probability": 0.1, "times": 4},
)


_IN_PARTS: Final = frozenset({"create", "part", "complete", "cancel"})


@dataclass
class Tally:
    """What happened so far, for the report at the end."""

    happened: Counter[str] = field(default_factory=Counter)
    codes: Counter[int] = field(default_factory=Counter)

    def __str__(self) -> str:
        said = [f"{count} {what}" for what, count in sorted(self.happened.items())]
        codes = ", ".join(f"{code}: {count}" for code, count in sorted(self.codes.items()))
        return f"{', '.join(said)}; exit codes {codes}"


@dataclass(frozen=True)
class _Running:
    """A command, and where it writes: ``said.out`` and ``said.err``."""

    process: subprocess.Popen[bytes]
    said: Path


class World:
    """One day. ``losses`` counts what may make parts travel twice; ``log`` is what was done."""

    def __init__(self, folder: Path, seed: str, tally: Tally) -> None:
        self.folder, self.seed, self.tally = folder, seed, tally
        self.log: list[str] = []
        self.losses = 0
        self.versions: dict[str, list[tuple[bytes, int]]] = {}
        self.printed: set[str] = set()
        self.law = Law()
        self._stack = ExitStack()
        self._draw = random.Random(seed)
        self._running: list[_Running] = []
        # Shorter than the looks for a File after a lost answer: a run may end among them.
        self._max_time = "3s"

    def __enter__(self) -> Self:
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            # A shell's background; commands would have it ignored as well.
            signal.signal(signal.SIGINT, signal.default_int_handler)
        for name in ("here", "disk"):
            (self.folder / name).mkdir(parents=True)
        self.here = self.folder / "here"
        disk = self.folder / "disk"
        self.has_disk = can_mount()
        if self.has_disk:
            disk = self._stack.enter_context(small_disk(disk, size="2m"))
        self._stack.enter_context(suppress(FaultNeverFired))
        self.server: Server = self._stack.enter_context(
            serve(
                self.folder / "server",
                api_key=KEY,
                ttl=7200,
                seed=self._draw.randrange(1 << 30),
            )
        )
        self.journal = disk / "state" / "journal.db"
        self._ballast = disk / "ballast"
        for name, size in _SIZES.items():
            self.write(name, self._draw.randbytes(size))
        self.write("d.jsonl", self._lines(90))
        return self

    def __exit__(self, *_: object) -> None:
        for running in self._running:
            running.process.kill()
            running.process.wait()
        self._stack.close()

    # --- the sources ------------------------------------------------------------------------

    def write(self, name: str, content: bytes) -> None:
        """Put another version in place, by rename or over the old one."""
        path = self.here / name
        if self._draw.random() < 0.5:
            path.write_bytes(content)
        else:
            (self.here / "new").write_bytes(content)
            (self.here / "new").replace(path)
        self._note_version(name)

    def _note_version(self, name: str) -> None:
        path = self.here / name
        self.versions.setdefault(name, []).append((path.read_bytes(), path.stat().st_mtime_ns))

    def _lines(self, count: int) -> bytes:
        def line(number: int) -> bytes:
            body = {"model": "m", "input": self._draw.randbytes(120).hex()}
            said = {"custom_id": f"{number}", "method": "POST", "url": "/v1/responses"}
            return json.dumps({**said, "body": body}).encode() + b"\n"

        return b"".join(line(number) for number in range(count))

    def edit(self, draw: random.Random) -> str:
        """Change a source, as an editor, a script or another machine does it."""
        name = draw.choice(sorted(self.versions))
        path = self.here / name
        kind = draw.choice(["append", "truncate", "replace", "stealth", "touch", "remount", "gone"])
        old = path.read_bytes() if path.exists() else self.versions[name][-1][0]
        stat = path.stat() if path.exists() else None
        if name.endswith(".jsonl"):
            # The check is not what is tried here: lines stay lines.
            kind = kind if kind in {"touch", "remount", "gone"} else "replace"
        match kind:
            case "append" if stat is not None:
                with path.open("ab") as file:
                    file.write(draw.randbytes(draw.randrange(1, 3000)))
            case "truncate" if stat is not None:
                path.write_bytes(old[: max(1, draw.randrange(len(old) + 1))])
            case "replace" if name.endswith(".jsonl"):
                self.write(name, self._lines(draw.randrange(5, 120)))
            case "replace":
                self.write(name, draw.randbytes(len(old)))
            case "stealth" if stat is not None:
                at = draw.randrange(len(old))
                with path.open("r+b") as file:
                    file.seek(at)
                    file.write(bytes([old[at] ^ 0xFF]))
                os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
            case "remount" if stat is not None:
                (self.here / "copy").write_bytes(old)
                os.utime(self.here / "copy", ns=(stat.st_atime_ns, stat.st_mtime_ns))
                (self.here / "copy").replace(path)
            case "gone" if stat is not None:
                path.unlink()
                return f"{name} gone"
            case _ if stat is None:
                self.write(name, old)
                return f"{name} back"
            case _:
                path.touch()
        self._note_version(name)
        return f"{kind} {name}"

    # --- commands ---------------------------------------------------------------------------

    def _start(self, *arguments: str) -> "_Running":
        self.log.append("$ chunkup " + " ".join(arguments))
        said = self.folder / f"{len(self.log)}"
        with said.with_suffix(".out").open("wb") as out, said.with_suffix(".err").open("wb") as err:
            process = subprocess.Popen(
                [sys.executable, "-m", "chunkup", *arguments],
                cwd=self.here,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={
                    "PATH": os.environ["PATH"],
                    "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
                    "HOME": str(self.folder),
                    "OPENAI_API_KEY": KEY,
                    "OPENAI_BASE_URL": self.server.base_url,
                    "CHUNKUP_JOURNAL": str(self.journal),
                    "CHUNKUP_RETRIES": "3",
                    "CHUNKUP_STALL_TIMEOUT": "2s",
                    "CHUNKUP_MAX_TIME": self._max_time,
                },
            )
        running = _Running(process, said)
        self._running.append(running)
        return running

    def _end(self, running: "_Running") -> Ended:
        try:
            code = running.process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"command {running.said.name} hangs") from None
        self._running.remove(running)
        if -code in {signal.SIGHUP, signal.SIGINT, signal.SIGTERM}:
            code = 128 - code  # it had only just begun; a shell says the same of both
        out = running.said.with_suffix(".out").read_text()
        err = running.said.with_suffix(".err").read_text()
        self.log.append(f"  exit {code} of {running.said.name}: {err.strip()[-300:]}")
        self.tally.codes[code] += 1
        assert code in _CODES, (code, err)
        for word in ("Traceback", "Exception", KEY, "never awaited"):
            assert word not in err, err
        if code == 75 and "--max-time" in err:
            self.losses += 1
        self.printed.update(re.findall(r"^(file-\w+)", out, re.MULTILINE))
        return Ended(code, out, err)

    def command(
        self, *arguments: str, after: int = 1, ill: Callable[[subprocess.Popen[bytes]], str] | None
    ) -> Ended:
        """Run one to its end; after so many requests of it ``ill`` happens, if it comes so far.

        Not before the first: a process that has only just begun is Python's, and not yet ours.
        """
        seen = len(self.server.requests)
        running = self._start(*arguments)
        process = running.process
        until = time.monotonic() + _PATIENCE
        while ill is not None and process.poll() is None and time.monotonic() < until:
            if len(self.server.requests) - seen >= after:
                self._happens(ill(process))
                ill = None
            time.sleep(0.001)
        return self._end(running)

    def _happens(self, what: str) -> None:
        self.losses += 1
        self.log.append(f"  ! {what}")
        self.tally.happened[what.partition(" ")[0]] += 1

    # --- a step -----------------------------------------------------------------------------

    def step(self, number: int) -> None:
        """One command, and what happens before it and meanwhile; then the laws."""
        draw = random.Random(f"{self.seed} {number}")
        self.log.append(f"step {number}")
        strikes = len(self.server.strikes)
        if draw.random() < 0.25:
            self._happens(f"edit {self.edit(draw)}")
        if draw.random() < 0.1:
            seconds = draw.choice([10, 3600, 7300])
            self.server.advance(seconds)
            self._happens(f"time {seconds} s later")
        calm = draw.random() < 0.2
        order = draw.choice(ORDERS)
        if not calm and draw.random() < 0.6:
            unheard = _IN_PARTS if "files" in order.flags else {"file"}
            heard = [said for said in _FAULTS if said["call"] not in unheard]
            for said in draw.sample(heard, draw.randrange(1, 4)):
                nth = draw.randrange(1, 12 if said["call"] == "part" else 2)
                self.server.fault(**{**said, "nth": nth})
        words = self.upload_words(order, draw)
        if draw.random() < 0.3:
            words = ["resume", "--workers", str(draw.choice([1, 4, 16]))]
        before = laws.before(self)
        started = laws.Started(tuple(words), order, calm, self.losses)
        ill = None if calm or draw.random() < 0.1 else self._ill(draw)
        ended = self.command(*words, after=draw.choice([1, 1, 2, 3, 5, 8, 13, 21]), ill=ill)
        while self._running:
            self._end(self._running[0])
        self._ballast.unlink(missing_ok=True)
        self.server._faults._armed.clear()
        fired = len(self.server.strikes) - strikes
        self.losses += fired
        self.tally.happened["faults"] += fired
        self.tally.happened["commands"] += 1
        laws.check(self, before, started, ended)

    def upload_words(self, order: Order, draw: random.Random) -> list[str]:
        workers = str(draw.choice([1, 4, 16]))
        return [
            *("upload", *order.sources, "-p", order.purpose, *order.flags, "--workers", workers)
        ]

    def _ill(self, draw: random.Random) -> Callable[[subprocess.Popen[bytes]], str]:
        """What happens to a process, or to its world while it runs."""
        pause = draw.random() * 0.05 if draw.random() < 0.5 else 0.0

        def struck(number: signal.Signals) -> Callable[[subprocess.Popen[bytes]], str]:
            def strike(process: subprocess.Popen[bytes]) -> str:
                time.sleep(pause)  # a blow falls at any moment, not only at requests
                process.send_signal(number)
                return number.name

            return strike

        def restart(_: object) -> str:
            self.server.restart()
            return "restart"

        def full(_: object) -> str:
            with suppress(OSError), self._ballast.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
            return "disk-full"

        def edited(_: object) -> str:
            return f"edit-meanwhile {self.edit(draw)}"

        def second(_: object) -> str:
            words = draw.choice([["resume"], self.upload_words(draw.choice(ORDERS), draw)])
            self._start(*words)
            return "second"

        def stopped(_: object) -> str:
            jobs = laws.open_jobs(self.journal)
            if jobs:
                self._start("stop", draw.choice(jobs))
            return "stop"

        def frozen(process: subprocess.Popen[bytes]) -> str:
            process.send_signal(signal.SIGSTOP)
            self._start("resume").process.wait(_PATIENCE)
            process.send_signal(signal.SIGCONT)
            return "frozen"

        kills = [struck(signal.SIGKILL)] * 6
        signals = [struck(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
        disks = [full] if self.has_disk else []
        return draw.choice(
            [
                *kills,
                *signals,
                *(restart, restart, edited, edited, second, second, stopped, frozen),
                *disks,
            ]
        )

    # --- the end of the day -----------------------------------------------------------------

    def finish(self) -> None:
        """All is well again: every command comes through, with the Files that it should have."""
        self._max_time = "80s"
        # What was asked for is listed by now, where it was made.
        self.server.advance(3800)
        for name, versions in self.versions.items():
            if not (self.here / name).exists():
                self.write(name, versions[-1][0])
        for order in ORDERS:
            ended = self._through(order)
            laws.check_arrived(self, order, ended)
        self.tally.happened["Files"] += len(self.server.files)
        self.tally.happened["days"] += 1
        sent = sum(laws.stored(self).values()) + sum(
            file.bytes for file in self.server.files.values()
        )
        self.tally.happened["bytes"] += sent
        ended = self.command("verify", "three.jsonl", "--no-content", ill=None)
        assert ended.code == 0, ended.err

    def _through(self, order: Order) -> Ended:
        said: list[str] = []
        for number in range(4):
            before = laws.before(self)
            words = self.upload_words(order, random.Random(number))
            started = laws.Started(tuple(words), order, calm=True, losses=self.losses)
            ended = self.command(*words, ill=None)
            laws.check(self, before, started, ended)
            if ended.code == 0:
                return ended
            said.append(ended.err)
            for job in laws.doubted(self.journal):
                file = laws.file_of(self, job)
                decided = ["--again"] if file is None else ["--accept", file]
                self.command("resume", job, *decided, ill=None)
        raise AssertionError(f"{order} does not come through\n" + "\n".join(said))


def spend(folder: Path, seed: str, seconds: float, tally: Tally, steps: Sequence[int]) -> int:
    """Live through days until the time is over; the number of days.

    Raises:
        AssertionError: A law was broken; it says which, and by which seed it happens again.
    """
    until = time.monotonic() + seconds
    day = 0
    while time.monotonic() < until:
        name = f"{seed}/{day}"
        run_day(folder / str(day), name, tally, steps[day % len(steps)], until)
        day += 1
    return day


def run_day(folder: Path, seed: str, tally: Tally, steps: int, until: float | None = None) -> None:
    """Live through one day, cut short where the time is over."""
    with World(folder, seed, tally) as world:
        try:
            for number in range(steps):
                if until is not None and time.monotonic() > until:
                    break
                world.step(number)
            world.finish()
        except AssertionError as error:
            log = "\n".join(world.log)
            raise AssertionError(
                f"{error}\n\n{log}\n\n"
                f"once more: CHUNKUP_CHAOS_DAY={seed} pytest tests/test_chaos.py"
            ) from error
