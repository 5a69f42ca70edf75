"""What is installed here."""

import asyncio
import platform
import sqlite3
from typing import Final

import aiohttp

from chunkup import __version__
from chunkup.doctor.finding import Finding, State

_OLDEST_SQLITE: Final = (3, 37)


def software() -> Finding:
    """Versions of what an upload runs on. Call it inside the running loop."""
    loop = type(asyncio.get_running_loop()).__module__.partition(".")[0]
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    facts = {
        "chunkup": __version__,
        "python": platform.python_version(),
        "system": system,
        "aiohttp": aiohttp.__version__,
        "sqlite": sqlite3.sqlite_version,
        "loop": loop,
    }
    says = (
        f"{__version__}; Python {facts['python']} on {system}; aiohttp {aiohttp.__version__}, "
        f"SQLite {sqlite3.sqlite_version}, loop of {loop}"
    )
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        return Finding(
            "chunkup",
            State.FAIL,
            f"{says}; the journal needs SQLite 3.37, use a Python that was built with that",
            hint="python3 -c 'import sqlite3; print(sqlite3.sqlite_version)'",
            facts=facts,
        )
    return Finding("chunkup", State.OK, says, facts=facts)
