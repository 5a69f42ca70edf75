"""A connection that is gone while its answer is read, which aiohttp tells in a way of its own."""

import asyncio

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.streams import StreamReader

from chunkup.errors import Unreachable
from chunkup.foreign import mapped


async def test_reading_on_of_it_is_a_connection_that_broke() -> None:
    loop = asyncio.get_running_loop()
    reader = StreamReader(BaseProtocol(loop), 1 << 16, loop=loop)
    with pytest.raises(Unreachable, match="broke in the middle") as caught:
        async with mapped("give the File's content"):
            await reader.read(1)
    assert caught.value.sent
    assert caught.value.exit_code == 75


async def test_a_mistake_of_ours_stays_one() -> None:
    with pytest.raises(RuntimeError, match="the transport is not open"):
        async with mapped("list Files"):
            raise RuntimeError("the transport is not open")
