"""The pytest plugin: one fixture, found by its entry point in every project that has chunkup.

It imports only pytest until the fixture is asked for, since it is loaded in test runs that
have nothing to do with uploads as well.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from chunkup.testing import Server


@pytest.fixture
def chunkup_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Iterator[Server]":
    """An OpenAI-compatible server for this test, to which the environment points.

    OPENAI_BASE_URL, OPENAI_API_KEY and CHUNKUP_JOURNAL are set. See chunkup.testing.Server for
    what it can do: files, uploads, requests, fault(), advance(), restart().
    """
    from chunkup.testing import FaultNeverFired, serve  # noqa: PLC0415  (as said above)

    never_fired = ""
    try:
        with serve(tmp_path / "chunkup_server") as server:
            for name, value in server.environ.items():
                monkeypatch.setenv(name, value)
            yield server
    except FaultNeverFired as error:
        never_fired = str(error)
    if never_fired:
        # Outside of `except`, or the report would say it twice.
        pytest.fail(never_fired, pytrace=False)
