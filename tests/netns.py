"""A network of one's own, with the kernel's own faults, where this system lets us have one.

A coroutine runs on a thread in a new network namespace, with nothing in it but loopback. Its
sockets, threads and children are in there too; when they end the kernel forgets it, so nothing
has a name and nothing is to be cleaned up.
"""

import asyncio
import ctypes
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Coroutine
from typing import Any, Final

import pytest

_CLONE_NEWNET: Final = 0x40000000


def needs(*tools: str) -> pytest.MarkDecorator:
    """Skip, and say why, where there can be no namespace or the tools are missing."""
    missing = [tool for tool in ("ip", *tools) if shutil.which(tool) is None]
    why = ""
    if sys.platform != "linux":
        why = "network namespaces are Linux's"
    elif os.geteuid() != 0:
        why = "a network namespace takes root"
    elif missing:
        why = f"not installed: {', '.join(missing)}"
    return pytest.mark.skipif(bool(why), reason=why)


def run_alone(work: Coroutine[Any, Any, None]) -> None:
    """Run it in a namespace of its own, on a loop of its own."""
    failures: list[BaseException] = []

    def enter() -> None:
        if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET) != 0:
            work.close()
            pytest.skip(f"no namespace here: {os.strerror(ctypes.get_errno())}")
        # Segments of real networks, so that a dropped packet is not the whole message.
        tell("ip link set lo up mtu 1500")
        asyncio.run(work)

    def caught() -> None:
        try:
            enter()
        except BaseException as error:  # noqa: BLE001  (it is raised where pytest sees it)
            failures.append(error)

    thread = threading.Thread(target=caught)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


def tell(command: str) -> None:
    """Run a command of ``ip``, ``nft`` or ``ss`` in here."""
    done = subprocess.run(command.split(), check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stderr}"


def drop(match: str) -> None:
    """Throw away the packets that match, such as ``tcp dport 80``, unseen by both ends."""
    tell("nft add table ip t")
    tell("nft add chain ip t c { type filter hook input priority 0 ; }")
    tell(f"nft add rule ip t c {match} drop")


def drop_nothing() -> None:
    """Take back what ``drop`` did."""
    tell("nft delete table ip t")
