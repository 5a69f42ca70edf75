"""A bad line: a TCP proxy that is as slow, as far away and as broken as a test wants.

    async with Toxics(house.url, up=62_500, latency=0.3) as line:
        ... AsyncUploader(base_url=line.url) ...
        line.up = None  # every number can be changed on the way
        line.strike(Act.SILENCE)  # to all connections that there are now

Bytes are taken from a socket only when they may go on, and its buffers are small: a sender feels
the line, and what its own system still holds has really not been sent.
"""

import asyncio
import socket
import struct
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Literal, Self

from yarl import URL

Way = Literal["up", "down"]

# About what a router holds for one sender, and the segments of real networks.
_WINDOW = 16 << 10
_SEGMENT = 1448
# Who comes back within so many seconds was held up by a late timer, and makes good for it.
_LATE = 0.05
_UNDER_WAY = 64  # pieces at once, on a line with latency


class Act(Enum):
    """What can befall a connection."""

    RESET = auto()  # both ends see a reset
    SILENCE = auto()  # nothing goes either way any longer; both ends stay open
    HALF_OPEN = auto()  # the server sees a reset, the client sees nothing
    DROP_ANSWERS = auto()  # what the client says arrives; nothing comes back


@dataclass(frozen=True)
class At:
    """An act that befalls a connection on the byte after so many went ``up``, or came ``down``.

    That byte doesn't arrive: ``down=0`` is a server that was asked and is never heard. The first
    ``spared`` connections are left alone, and after ``times`` of them all others.
    """

    act: Act
    up: int | None = None
    down: int | None = None
    spared: int = 0
    times: int | None = None

    def meets(self, connection: int) -> bool:
        """Whether the connection of this number, from 0, is one of those."""
        return self.spared <= connection < self.spared + (self.times or connection + 1)


@dataclass
class Toxics:
    """A line to the server at ``target``; ``url`` leads through it.

    Attributes:
        target: The server's base URL.
        up: Bytes a second from all clients together, shared alike; None: no limit.
        down: The same for what the server says.
        up_each: Bytes a second from each connection.
        down_each: The same for what the server says.
        latency: Seconds that each way takes; fixed once a connection stands.
        piece: Most bytes that arrive at once.
        faults: What befalls connections by themselves.
        carried: Bytes that reached the server so far.
        accepted: Connections that there have been.
    """

    target: str
    up: float | None = None
    down: float | None = None
    up_each: float | None = None
    down_each: float | None = None
    latency: float = 0.0
    piece: int = 1 << 16
    faults: Sequence[At] = ()
    carried: int = field(default=0, init=False)
    accepted: int = field(default=0, init=False)
    url: str = field(default="", init=False)
    flowing: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    clocks: dict[Way, "_Clock"] = field(default_factory=dict, init=False)
    lines: set["_Line"] = field(default_factory=set, init=False)
    _holder: socket.socket | None = field(default=None, init=False)
    _accepting: asyncio.Task[None] | None = field(default=None, init=False)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set, init=False)

    async def __aenter__(self) -> Self:
        # Bound and never listening: it keeps the port while connections are refused.
        self._holder = _bound(0)
        port = self._holder.getsockname()[1]
        self.url = str(URL(self.target).with_host("127.0.0.1").with_port(port))
        self.clocks = {"up": _Clock(), "down": _Clock()}
        self.go_on()
        self.allow()
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._holder is not None:
            self._holder.close()

    async def refuse(self) -> None:
        """From now on new connections are refused; those that exist go on."""
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.wait([self._accepting])
            self._accepting = None

    def allow(self) -> None:
        """Take new connections again."""
        if self._accepting is None and self._holder is not None:
            listener = _bound(self._holder.getsockname()[1])
            listener.listen(128)
            self._accepting = self._start(self._accept(listener))

    def stop(self) -> None:
        """A black hole: connections stand, or are even made, and nothing moves on any."""
        self.flowing.clear()

    def go_on(self) -> None:
        """Out of the black hole; what was under way arrives late."""
        self.flowing.set()

    def strike(self, act: Act) -> None:
        """Do it to all connections that there are."""
        for line in list(self.lines):
            line.suffer(act)

    @property
    def alive(self) -> int:
        """Connections that stand."""
        return len(self.lines)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _accept(self, listener: socket.socket) -> None:
        with listener:
            while True:
                client, _ = await asyncio.get_running_loop().sock_accept(listener)
                client.settimeout(0)
                self._start(self._serve(client))

    async def _serve(self, client: socket.socket) -> None:
        faults = [fault for fault in self.faults if fault.meets(self.accepted)]
        self.accepted += 1
        with client, _small(socket.socket()) as server:
            line = _Line(self, client, server, faults)
            self.lines.add(line)
            try:
                await line.live()
            finally:
                self.lines.discard(line)


@dataclass(eq=False)
class _Line:
    """One connection through the proxy."""

    toxics: Toxics
    client: socket.socket
    server: socket.socket
    faults: list[At]
    fate: asyncio.Future[Act] = field(default_factory=asyncio.Future)
    deaf: bool = False

    def suffer(self, act: Act) -> None:
        if act is Act.DROP_ANSWERS:
            self.deaf = True
        elif not self.fate.done():
            self.fate.set_result(act)

    async def live(self) -> None:
        carrying = asyncio.ensure_future(self._carry())
        ends: list[asyncio.Future[Any]] = [carrying, self.fate]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # A socket must not be closed while the loop still looks at it.
            carrying.cancel()
            await asyncio.wait([carrying])
            if not carrying.cancelled():
                carrying.exception()  # heard, or Python would say that nobody did
        if self.fate.done():
            act = self.fate.result()
            if act is not Act.SILENCE:
                _reset(self.server)
            if act is not Act.RESET:
                await asyncio.Event().wait()
            _reset(self.client)
        elif carrying.exception() is not None:
            # What one end did to its connection the other end shall see.
            _reset(self.server)
            _reset(self.client)

    async def _carry(self) -> None:
        to = URL(self.toxics.target)
        await asyncio.get_running_loop().sock_connect(self.server, (to.host, to.port))
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pump("up", self.client, self.server))
            group.create_task(self._pump("down", self.server, self.client))

    async def _pump(self, way: Way, source: socket.socket, sink: socket.socket) -> None:
        toxics, loop, own = self.toxics, asyncio.get_running_loop(), _Clock()
        under_way = asyncio.Queue[tuple[float, bytes]](_UNDER_WAY if toxics.latency else 1)

        async def take() -> None:
            found = b"more"
            while found:
                await toxics.flowing.wait()
                shared: float | None = getattr(toxics, way)
                each: float | None = getattr(toxics, f"{way}_each")
                slowest = min(shared or 1e12, each or 1e12)
                # A fiftieth of a second's worth: small enough to share a thin line alike.
                size = max(1, min(toxics.piece, int(slowest / 50)))
                found = await loop.sock_recv(source, size)
                await toxics.clocks[way].pass_by(len(found), shared)
                await own.pass_by(len(found), each)
                await under_way.put((loop.time() + toxics.latency, found))

        async def deliver() -> None:
            gone = 0
            while True:
                due, found = await under_way.get()
                await asyncio.sleep(due - loop.time())
                await toxics.flowing.wait()
                if not found:
                    break
                if self.fate.done():
                    return  # or what follows the byte that is gone would arrive
                for fault in self.faults:
                    last: int | None = getattr(fault, way)
                    if last is not None and gone + len(found) > last and not self.fate.done():
                        found = found[: max(0, last - gone)]
                        await loop.sock_sendall(sink, found)
                        self.suffer(fault.act)
                        found = b""
                gone += len(found)
                if way == "up":
                    toxics.carried += len(found)
                if way == "up" or not self.deaf:
                    await loop.sock_sendall(sink, found)
            if way == "up" or not self.deaf:
                with suppress(OSError):
                    sink.shutdown(socket.SHUT_WR)

        async with asyncio.TaskGroup() as group:
            group.create_task(take())
            group.create_task(deliver())


@dataclass
class _Clock:
    """When a line has carried all that it took so far."""

    _free: float = 0.0
    _woke: float = 0.0

    async def pass_by(self, size: int, rate: float | None) -> None:
        """Return once ``size`` bytes are through at ``rate`` bytes a second."""
        if rate is not None and size:
            loop = asyncio.get_running_loop()
            now = loop.time()
            self._free = (self._free if now - self._woke < _LATE else max(self._free, now)) + (
                size / rate
            )
            await asyncio.sleep(self._free - now)
            self._woke = loop.time()


def _small(sock: socket.socket) -> socket.socket:
    sock.settimeout(0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _WINDOW)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _WINDOW)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _SEGMENT)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _bound(port: int) -> socket.socket:
    sock = _small(socket.socket())
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("127.0.0.1", port))
    return sock


def _reset(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
