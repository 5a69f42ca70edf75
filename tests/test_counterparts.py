"""The tool itself: what is skipped, what fails, and that nothing leaves this machine."""

import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from counterparts import Counterpart, installed, missing, started

# A server of Node that tells where it listens, whatever it was told, and whom it reaches.
_SERVER = """
const http = require('node:http');
http.createServer((request, answer) => {
  const far = http.get({ host: '192.0.2.1', port: 80 });
  far.on('error', (error) => answer.end(error.message));
}).listen(80, '0.0.0.0');
"""

needs_node = pytest.mark.skipif(
    shutil.which("npm") is None, reason="counterpart: npm is not installed"
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "chunkup-tests"


def raised(work: Callable[[], object]) -> BaseException:
    """What pytest is told: that it was skipped, or that it failed."""
    with pytest.raises((pytest.skip.Exception, pytest.fail.Exception)) as caught:
        work()
    return caught.value


def test_what_is_missing_is_skipped_and_fails_where_it_can_be_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CHUNKUP_COUNTERPARTS", "npm")
    skipped = raised(lambda: missing("nginx", "nginx is not installed"))
    assert isinstance(skipped, pytest.skip.Exception)
    assert str(skipped) == "counterpart: nginx is not installed"
    assert isinstance(raised(lambda: missing("npm", "no")), pytest.fail.Exception)


@needs_node
def test_what_no_registry_has_is_missing_and_leaves_nothing(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody listens at that registry."""
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9/")
    monkeypatch.delenv("CHUNKUP_COUNTERPARTS", raising=False)
    for _ in range(2):
        refused = raised(lambda: installed("nothing", {"chunkup-has-no-such-thing": "1.0.0"}))
        assert isinstance(refused, pytest.skip.Exception)
        assert "counterpart: nothing cannot be installed here" in str(refused)
    assert [path.suffix for path in cache.iterdir()] == [".lock"]


@needs_node
def test_a_program_of_node_takes_a_free_port_here_and_reaches_nobody_else(cache: Path) -> None:
    folder = installed("empty", {})
    assert installed("empty", {}) == folder
    (folder / "server.cjs").write_text(_SERVER)
    with started(["node", "server.cjs"], folder=folder) as counterpart:
        assert counterpart.url.startswith("http://127.0.0.1:")
        assert not counterpart.url.endswith(":80")
        with urllib.request.urlopen(counterpart.url) as answer:
            assert answer.read() == b"192.0.2.1 is not on this machine"
    assert counterpart.process.returncode is not None
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(counterpart.url)


def test_a_program_that_ends_at_once_fails_with_what_it_said() -> None:
    def begin() -> None:
        with started([sys.executable, "-c", "raise SystemExit('no licence')"]):
            pass

    failed = raised(begin)
    assert isinstance(failed, pytest.fail.Exception)
    assert "ended with 1" in str(failed)
    assert "no licence" in str(failed)


def test_it_is_told_its_port_and_nothing_of_our_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    program = (
        "import http.server, os, sys; print(sorted(os.environ), flush=True);"
        "http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])), None).serve_forever()"
    )
    asked: list[Counterpart] = []

    def ready(counterpart: Counterpart) -> bool:
        asked.append(counterpart)
        return len(asked) == 2

    words = [sys.executable, "-c", program, "{port}"]
    with started(words, {"MINE": "1"}, ready=ready) as counterpart:
        assert "MINE" in counterpart.said
        assert "OPENAI_API_KEY" not in counterpart.said
        assert asked == [counterpart] * 2
