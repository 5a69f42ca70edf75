"""Faults on the wire: a middleware that strikes the requests that are due."""

import asyncio
import json
import math
import socket
import struct

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from chunkup.server.aim import ArmedFault, Faults
from chunkup.server.errors import ApiError
from chunkup.server.faults import BODILESS, ROUTES, Fault
from chunkup.server.tampering import GARBLED, HOLD, WAY, Way

UNANSWERED = 499
"""Status of an answer that nobody gets, because the connection is gone."""

# How often a request that waits looks whether its client is still there.
_LOOK_SECONDS = 0.05

# Closing with it on discards what was not sent and resets the connection.
_RESET = struct.pack("ii", 1, 0)


def call_of(request: web.Request) -> str:
    """Return which of the calls a request is, or `other`."""
    resource = request.match_info.route.resource
    path = "" if resource is None else resource.canonical
    return ROUTES.get((request.method, path), "other")


def striking(faults: Faults) -> Middleware:
    """Return the middleware that strikes what `faults` pick."""

    @web.middleware
    async def strike(request: web.Request, handler: Handler) -> web.StreamResponse:
        armed = faults.take(call_of(request))
        return await handler(request) if armed is None else await _struck(armed, request, handler)

    return strike


async def _struck(armed: ArmedFault, request: web.Request, handler: Handler) -> web.StreamResponse:
    fault = armed.fault
    # To read content is its answer: there is nothing that could be carried out before.
    call = call_of(request)
    is_content = call == "content"
    answer: web.StreamResponse | None = None
    if not fault.carries_out:
        await _take_in(request, fault.after)
    elif not is_content:
        request[GARBLED] = fault.garble
        if fault.hold and call not in BODILESS:
            request[HOLD] = lambda: _hold(armed)
        elif fault.hold:
            await _hold(armed)
        answer = await handler(request)
    armed.strike()
    if fault.hang:
        await _while_there(request, math.inf)
    await _while_there(request, fault.delay + (fault.hold if is_content else 0))
    if fault.silent:
        _break_off(request, reset=fault.reset)
        return web.Response(status=UNANSWERED)
    if fault.made_up:
        answer = _made_up(fault, request)
    if answer is None:
        request[WAY] = _Meddling(request, fault)
        return await handler(request)
    return await _sent(request, answer, fault)


async def _take_in(request: web.Request, least: int | None) -> None:
    """Read so many bytes of the body, or all of it.

    A body that nobody reads would hold back the answer, or keep its client from hanging.
    """
    count = 0
    while least is None or count < least:
        read = await request.content.readany()
        if not read:
            return
        count += len(read)


async def _hold(armed: ArmedFault) -> None:
    # To the end, whether its client is still there or not: so do gateways.
    armed.strike()
    await asyncio.sleep(armed.fault.hold)


async def _while_there(request: web.Request, seconds: float) -> None:
    """Wait, but not for a client that has gone."""
    now = asyncio.get_running_loop().time
    end = now() + seconds
    while request.transport is not None and (left := end - now()) > 0:  # noqa: ASYNC110  (aiohttp tells nobody)
        await asyncio.sleep(min(left, _LOOK_SECONDS))


def _break_off(request: web.Request, *, reset: bool) -> None:
    transport = request.transport
    if transport is None:
        return
    if reset:
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()


def _made_up(fault: Fault, request: web.Request) -> web.Response:
    if fault.body is None:
        status = fault.status or 500
        kind = "server_error" if status >= 500 else "invalid_request_error"
        refusal = ApiError(status, fault.message or f"A fault was set: {fault}.", kind=kind)
        return web.json_response(refusal.body(), status=status)
    is_text = isinstance(fault.body, str)
    text = fault.body if is_text else json.dumps(fault.body)
    for name, value in request.match_info.items():
        text = text.replace("{" + name + "}", value)
    return web.Response(
        text=text,
        status=fault.status or 200,
        content_type="text/plain" if is_text else "application/json",
    )


async def _sent(
    request: web.Request, answer: web.StreamResponse, fault: Fault
) -> web.StreamResponse:
    way = _Meddling(request, fault)
    body = answer.body if isinstance(answer, web.Response) else None
    if not isinstance(body, bytes) or not fault.is_streamed:
        way.dress(answer)
        return answer
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    response.content_length = len(body)
    await way.prepare(request, response)
    await way.write(response, body)
    return response


class _Meddling(Way):
    """The way of an answer that is to be changed, slowed or cut."""

    def __init__(self, request: web.Request, fault: Fault) -> None:
        self._request = request
        self._fault = fault
        self._left: float = math.inf

    def dress(self, response: web.StreamResponse) -> None:
        """Put on the answer what the fault says of its headers."""
        response.headers.update(self._fault.headers)
        if self._fault.gzip:
            response.enable_compression(web.ContentCoding.gzip)

    async def prepare(self, request: web.Request, response: web.StreamResponse) -> None:
        """Send the headers, with those of the fault."""
        if self._fault.cut is not None:
            # Never the whole: an answer that has all its bytes was not cut.
            self._left = min(self._fault.cut, max(0, (response.content_length or 0) - 1))
        self.dress(response)
        await response.prepare(request)

    async def write(self, response: web.StreamResponse, data: bytes) -> None:
        """Send the next bytes of the body, as slowly and as many as the fault lets through.

        Raises:
            ConnectionResetError: the answer was cut.
        """
        size = 1 if self._fault.trickle else max(1, len(data))
        for at in range(0, len(data), size):
            piece = data[at : at + size][: int(min(self._left, size))]
            await response.write(piece)
            self._left -= len(piece)
            if self._left <= 0:
                self._end()
                raise ConnectionResetError("the answer was cut")
            await _while_there(self._request, self._fault.trickle)

    def _end(self) -> None:
        if self._request.transport is not None:
            self._request.transport.close()
