"""In a notebook there is one display, and the saved notebook shows its last state."""

import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from test_render_tally import completed, started

from chunkup.render import Notebook

# Their types are half-way, and this test looks into one of them.
nbclient: Any = import_module("nbclient")
nbformat: Any = import_module("nbformat")

PRELUDE = """
import asyncio, sys, threading, time
from chunkup import events
from chunkup.models import RemoteFile
from chunkup.render import make_renderer

def tell(renderer, kind, job="k7f2m9", path="/data/<b>.jsonl", **own):
    renderer.show(kind(time=time.time(), job=job, path=path, **own))

def start(renderer, job="k7f2m9", path="/data/<b>.jsonl", done=0):
    tell(renderer, events.JobStarted, job, path, size=1000, done=done, parts=10, done_parts=0,
         continued=done > 0)

def run(renderer, job="k7f2m9", done=0):
    tell(renderer, events.Progress, job, size=1000, done=done, sent=0, rate=10.0, in_flight=4,
         retries=0, expires_in=None)

def finish(renderer, job="k7f2m9", path="/data/<b>.jsonl"):
    file = RemoteFile("file-<1>", 1000, 0, "b", "batch")
    tell(renderer, events.Completed, job, path, file=file, recovered=False)

# As the engine behind blocking calls: a loop on a thread that an earlier cell started.
loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()
"""

Run = Callable[..., tuple[list[Any], list[str]]]


@pytest.fixture
def run_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run cells in a real kernel; all that is saved, and the kinds of all messages."""
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))

    def run(*cells: str) -> tuple[list[Any], list[str]]:
        book = nbformat.v4.new_notebook()
        book.cells = [nbformat.v4.new_code_cell(cell) for cell in (PRELUDE, *cells)]
        client = nbclient.NotebookClient(book, timeout=60, kernel_name="python3")
        kinds: list[str] = []
        process = client.process_message

        def counted(message: Any, *rest: Any) -> Any:
            kinds.append(message["msg_type"])
            return process(message, *rest)

        client.process_message = counted
        client.execute()
        return [output for cell in book.cells for output in cell.outputs], kinds

    return run


def test_one_display_is_updated_from_another_thread_and_saved_with_its_last_state(
    run_cells: Run,
) -> None:
    cell = """
async def upload():
    renderer = make_renderer("auto")
    start(renderer, done=300)
    for done in range(300, 1000, 100):
        run(renderer, done=done)
    finish(renderer)
    renderer.close()
    renderer.close()
    assert "rich" not in sys.modules
    assert type(renderer).__name__ == "Notebook"
asyncio.run_coroutine_threadsafe(upload(), loop).result(30)
"""
    outputs, _ = run_cells(cell)
    (output,) = outputs
    assert output.output_type == "display_data"
    assert output.data == {
        "text/plain": "<b>.jsonl  [####################] 100 %  file-<1>",
        "text/html": (
            '<table><tr><td style="text-align:left">&lt;b&gt;.jsonl</td>'
            '<td><progress value="100" max="100"></progress></td><td>100&nbsp;%</td>'
            '<td style="text-align:left">file-&lt;1&gt;</td></tr></table>'
        ),
    }


def test_an_upload_that_outlasts_its_cell_is_saved_with_its_last_state(run_cells: Run) -> None:
    first = """
async def upload():
    renderer = make_renderer("auto")
    start(renderer)
    begun.set()
    await go_on.wait()
    finish(renderer)
    renderer.close()
begun, go_on = threading.Event(), asyncio.Event()
running = asyncio.run_coroutine_threadsafe(upload(), loop)
assert begun.wait(30)
"""
    (output,), kinds = run_cells(first, "loop.call_soon_threadsafe(go_on.set); running.result(30)")
    assert output.data["text/plain"].endswith("100 %  file-<1>")
    assert kinds.count("display_data") == 1


def test_updates_are_few_however_many_events_there_are(run_cells: Run) -> None:
    cell = """
renderer = make_renderer("notebook")
start(renderer)
since = time.monotonic()
while time.monotonic() < since + 2:
    run(renderer, done=int(300 * (time.monotonic() - since)))
run(renderer, done=790)
renderer.close()
run(renderer, done=999)
"""
    (output,), kinds = run_cells(cell)
    assert kinds.count("display_data") == 1
    assert 2 <= kinds.count("update_display_data") <= 6
    assert output.data["text/plain"].startswith("<b>.jsonl  [###############     ]  79 %")


def test_a_wait_is_shown_although_nothing_follows(run_cells: Run) -> None:
    cell = """
renderer = make_renderer("notebook")
start(renderer)
tell(renderer, events.Paused, wait=60.0, message="rate <limited>")
time.sleep(1.2)  # longer than a heartbeat; nothing tells when one was
"""
    (output,), _ = run_cells(cell)
    assert "rate <limited>" in output.data["text/plain"]
    assert "rate &lt;limited&gt;" in output.data["text/html"]


def test_what_did_not_change_is_not_published_again(run_cells: Run) -> None:
    cell = """
renderer = make_renderer("notebook")
start(renderer)
time.sleep(1.2)  # longer than a heartbeat; that nothing comes is what is waited for
renderer.close()
finish(renderer)
renderer.close()
"""
    (output,), kinds = run_cells(cell)
    assert output.data["text/plain"].endswith("0 %  0 bytes of 1 kB")
    assert kinds.count("display_data") == 1
    assert kinds.count("update_display_data") == 0


def test_nothing_is_published_before_the_first_event_or_after_the_end(run_cells: Run) -> None:
    outputs, _ = run_cells("""
renderer = make_renderer("notebook")
renderer.begin(1, 1000)
renderer.close()
start(renderer)
renderer.close()
""")
    assert outputs == []


def test_many_files_are_a_total_and_what_went_wrong(run_cells: Run) -> None:
    cell = """
renderer = make_renderer("notebook")
renderer.begin(4, 4000, 1, 1000)
for job in ("aaa", "bbb", "ccc"):
    start(renderer, job, f"/data/{job}.jsonl")
finish(renderer, "aaa", "/data/aaa.jsonl")
tell(renderer, events.Failed, "bbb", "/data/bbb.jsonl", code="x", message="it <broke>", hint=None,
     resume=None)
run(renderer, "ccc", 500)
renderer.close()
"""
    (output,), _ = run_cells(cell)
    rows = output.data["text/plain"].splitlines()
    assert [row.split("  ")[0] for row in rows] == ["bbb.jsonl", "ccc.jsonl", "2 of 4 files"]
    assert rows[0].endswith("0 %  it <broke>")
    assert "1 failed" in rows[2]
    assert "it &lt;broke&gt;" in output.data["text/html"]


def test_a_job_that_starts_again_has_not_gone_wrong(run_cells: Run) -> None:
    cell = """
renderer = make_renderer("notebook")
start(renderer)
tell(renderer, events.Stopped, code="x", message="no network", hint=None, resume=None)
start(renderer)
finish(renderer)
renderer.close()
"""
    (output,), _ = run_cells(cell)
    assert output.data["text/plain"].endswith("100 %  file-<1>")


def test_ipython_without_a_kernel_is_no_notebook() -> None:
    code = """
import io, IPython
from IPython.core.interactiveshell import InteractiveShell
from chunkup.render import make_renderer
InteractiveShell.instance()
assert IPython.get_ipython() is not None
print(type(make_renderer("auto", io.StringIO())).__name__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "Lines\n"


def test_where_nothing_can_be_published_nothing_breaks(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "IPython.display", None)
    book = Notebook()
    book.begin(2, 2000)
    book.show(started())
    book.show(completed())
    book.pause()
    book.close()
    assert capfd.readouterr() == ("", "")
