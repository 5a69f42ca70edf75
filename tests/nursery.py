"""Pytest in processes of its own that begin with everything loaded which is not ours.

Loading that takes longer than most single tests, and hundreds of them are run so.
"""

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

# None of ours, and nothing whose asserts pytest wants to rewrite as it loads it.
_LOADED = [
    *("pytest", "_pytest.pytester_assertions", "asyncio", "aiohttp.web", "aiofiles", "tenacity"),
    *("sqlite_utils", "msgspec", "xxhash", "click", "hypothesis.stateful", "jsonschema"),
]


def run_pytest(folder: Path, *words: str, patience: float) -> tuple[int, str]:
    """Run pytest in a folder whose packages come before all others; its exit code and output.

    Raises:
        subprocess.TimeoutExpired: It did not end within ``patience`` seconds.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_LOADED)
    said = folder / "said"
    process = context.Process(target=_run, args=(folder, said, words))
    process.start()
    process.join(patience)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise subprocess.TimeoutExpired(words, patience, said.read_text(errors="replace"))
    return process.exitcode, said.read_text(errors="replace")


def _run(folder: Path, said: Path, words: tuple[str, ...]) -> None:
    """What the new process does, from its first moment to its last."""
    handle = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.chdir(folder)
    # Ours is loaded from the folder, and so it is by what the tests start.
    sys.path.insert(0, str(folder))
    os.environ["PYTHONPATH"] = str(folder)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    assert not [name for name in sys.modules if name.partition(".")[0] == "chunkup"]
    code = pytest.main(list(words))
    sys.stdout.flush()
    # What a mutation left running is not waited for.
    os._exit(code)
