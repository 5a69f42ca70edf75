"""A real kernel, cell by cell: blocking calls in its running loop, its interrupts, its displays."""

import asyncio
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest
from elsewhere import in_a_thread
from gates import Gate, holding, wait_for_receipts
from house import KEY, House, make_source, open_house
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

SIZE = 10_500


@pytest.fixture
def server(tmp_path: Path) -> Iterator[House]:
    with in_a_thread(lambda: open_house(tmp_path / "server")) as house:
        yield house


@dataclass
class Notebook:
    """A notebook with a living kernel. Cells are appended by running them."""

    client: NotebookClient
    manager: AsyncKernelManager
    folder: Path
    environ: dict[str, str]

    @property
    def journal(self) -> Path:
        return Path(self.environ["CHUNKUP_JOURNAL"])

    def run(self, code: str) -> list[nbformat.NotebookNode]:
        """The outputs of a cell."""
        self.client.nb.cells.append(nbformat.v4.new_code_cell(code))  # type: ignore[no-untyped-call]  # it has no types
        return self.again()

    def again(self) -> list[nbformat.NotebookNode]:
        """Run the last cell once more."""
        place = len(self.client.nb.cells) - 1
        cell = self.client.execute_cell(self.client.nb.cells[place], place)
        return list(cell.outputs)

    def interrupted(self, code: str, gate: Gate, parts: int) -> str:
        """Run a cell, interrupt it with so many parts through; its traceback."""

        def interrupt() -> None:
            gate.wait()
            wait_for_receipts(self.journal, parts)
            asyncio.run(self._interrupt())

        thread = threading.Thread(target=interrupt)
        thread.start()
        try:
            with pytest.raises(CellExecutionError) as caught:
                self.run(code)
        finally:
            thread.join()
        return str(caught.value)

    async def _interrupt(self) -> None:
        await self.manager.interrupt_kernel()

    def saved(self) -> nbformat.NotebookNode:
        """The notebook as a reader finds it later."""
        path = self.folder / "saved.ipynb"
        nbformat.write(self.client.nb, path)  # type: ignore[no-untyped-call]  # it has no types
        read: nbformat.NotebookNode = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]  # the same
        return read

    def terminal(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """A command in a terminal, beside the living kernel."""
        return subprocess.run(
            [sys.executable, "-m", "chunkup", *arguments],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=self.environ,
            check=False,
        )


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NotebookClient]:
    """One kernel for all: it has to survive what is done to it."""
    folder = tmp_path_factory.mktemp("jupyter")
    manager = AsyncKernelManager(kernel_name="python3", ip="127.0.0.1", transport="tcp")
    client = NotebookClient(_empty(), km=manager, timeout=60)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("CONFIG", "DATA", "RUNTIME"):
            patch.setenv(f"JUPYTER_{name}_DIR", str(folder / name))
        environ = {**os.environ, "IPYTHONDIR": str(folder / "ipython")}
        with client.setup_kernel(cwd=str(folder), env=environ, cleanup_kc=True):
            yield client


def _empty() -> nbformat.NotebookNode:
    made: nbformat.NotebookNode = nbformat.v4.new_notebook()  # type: ignore[no-untyped-call]  # it has no types
    return made


@pytest.fixture
def notebook(kernel: NotebookClient, server: House, tmp_path: Path) -> Notebook:
    folder = tmp_path / "here"
    folder.mkdir()
    make_source(folder / "a.bin", SIZE)
    ours = {
        "OPENAI_API_KEY": KEY,
        "OPENAI_BASE_URL": server.url,
        "CHUNKUP_JOURNAL": str(tmp_path / "state" / "journal.db"),
        "CHUNKUP_OFFLINE_WAIT": "0",
    }
    kernel.nb = _empty()
    assert isinstance(kernel.km, AsyncKernelManager)
    opened = Notebook(kernel, kernel.km, folder, {**os.environ, **ours})
    opened.run(f"import os\nos.chdir({str(folder)!r})\nos.environ.update({ours!r})\nimport chunkup")
    return opened


UPLOAD = "chunkup.upload('a.bin', purpose='user_data', part_size=1000)"
STARTED = """uploader = chunkup.Uploader(part_size=1000)
uploader.start('a.bin', purpose='user_data').result()"""
OPEN = """uploader = chunkup.Uploader(part_size=1000)
uploader.upload('a.bin', purpose='user_data')"""
ALL = """with chunkup.Uploader(part_size=1000) as uploader:
    list(uploader.upload_all(['a.bin'], purpose='user_data'))"""
AWAITED = """async with chunkup.AsyncUploader(part_size=1000) as uploader:
    file = await uploader.upload('a.bin', purpose='user_data')
file"""
RESUME = r"chunkup\.resume\('\w{6}'\)"


def test_a_blocking_call_works_in_the_running_loop_and_leaves_one_final_display(
    notebook: Notebook, server: House
) -> None:
    (shown,) = notebook.run("import asyncio\nasyncio.get_running_loop().is_running()")
    assert shown.data["text/plain"] == "True"
    display, result = notebook.run(UPLOAD)
    (file,) = server.files
    assert server.content(file.id) == (notebook.folder / "a.bin").read_bytes()
    assert result.data["text/plain"].startswith(f"RemoteFile(id='{file.id}', bytes={SIZE}, ")
    saved, _ = notebook.saved().cells[-1].outputs
    assert saved == display
    assert display.output_type == "display_data"
    assert display.data["text/plain"] == f"a.bin  [{'#' * 20}] 100 %  {file.id}"
    assert '<progress value="100" max="100">' in display.data["text/html"]
    assert file.id in display.data["text/html"]


@pytest.mark.parametrize(
    ("cell", "advice"),
    [
        (UPLOAD, RESUME),
        (STARTED, RESUME),
        (OPEN, RESUME),
        (ALL, "the same call goes on"),
        (AWAITED, ""),
    ],
    ids=["upload", "started", "open", "all", "awaited"],
)
def test_an_interrupt_keeps_receipts_says_how_to_go_on_and_gives_the_job_back(
    notebook: Notebook, server: House, cell: str, advice: str
) -> None:
    with holding(server, after=5) as gate:
        trace = notebook.interrupted(cell, gate, 5)
    assert "KeyboardInterrupt" in trace or "CancelledError" in trace
    assert re.search(advice, trace)
    (shown,) = notebook.run("[(job.state, job.done) for job in chunkup.Uploader().jobs()]")
    assert shown.data["text/plain"] == "[('stopped', 5000)]"
    # The kernel lives on, and yet a terminal may have the job.
    resumed = notebook.terminal("resume")
    assert resumed.returncode == 0, resumed.stderr
    assert "5 of 11 parts" in resumed.stderr
    file_id, _, path = resumed.stdout.strip().partition("\t")
    assert path.endswith("a.bin")
    assert server.content(file_id) == (notebook.folder / "a.bin").read_bytes()
    assert server.calls.count("create") == 1


def test_an_interrupted_call_returns_only_when_the_job_was_given_back(
    notebook: Notebook, server: House
) -> None:
    cell = (
        "uploader = chunkup.Uploader(part_size=1000)\n"
        "try:\n    uploader.upload('a.bin', purpose='user_data')\n"
        "except KeyboardInterrupt:\n    print(uploader.jobs()[0].state)\n    raise"
    )
    with holding(server, after=5) as gate:
        notebook.interrupted(cell, gate, 5)
    outputs = notebook.saved().cells[-1].outputs
    (printed,) = [one.text for one in outputs if one.output_type == "stream"]
    assert printed == "stopped\n"


def test_the_advice_of_an_interrupt_is_a_cell_that_goes_on(
    notebook: Notebook, server: House
) -> None:
    with holding(server, after=5) as gate:
        trace = notebook.interrupted(UPLOAD, gate, 5)
    advice = re.search(RESUME, trace)
    assert advice is not None
    *_, result = notebook.run(advice[0])
    assert server.files[0].id in result.data["text/plain"]
    assert server.calls.count("create") == 1


@pytest.mark.parametrize("cell", [UPLOAD, AWAITED], ids=["upload", "awaited"])
def test_the_same_cell_again_goes_on(notebook: Notebook, server: House, cell: str) -> None:
    with holding(server, after=5) as gate:
        notebook.interrupted(cell, gate, 5)
    stopped = notebook.saved().cells[-1].outputs[0]
    if cell == UPLOAD:
        assert stopped.output_type == "display_data"
        assert "interrupted" in stopped.data["text/plain"]
        assert "47 %" in stopped.data["text/plain"]
    server.arrivals.clear()
    *_, result = notebook.again()
    (file,) = server.files
    assert file.id in result.data["text/plain"]
    assert server.content(file.id) == (notebook.folder / "a.bin").read_bytes()
    assert server.whole_bytes == SIZE - 5000
    assert server.calls.count("create") == 1


def test_many_files_are_one_display_and_a_failed_one_stays_in_it(
    notebook: Notebook, server: House
) -> None:
    make_source(notebook.folder / "b.bin", SIZE, seed=1)
    display, result = notebook.run(
        "[len(list(chunkup.Uploader().upload_all(['a.bin', 'b.bin'], purpose='user_data')))]"
    )
    assert result.data["text/plain"] == "[2]"
    assert "2 of 2 files" in display.data["text/plain"]
    assert "100 %" in display.data["text/plain"]
    display, result = notebook.run(
        "[result.error.code for result in"
        " chunkup.Uploader().upload_all(['a.bin', 'b.bin'], purpose='no such purpose')]"
    )
    assert result.data["text/plain"] == "['rejected', 'rejected']"
    assert "a.bin" in display.data["text/plain"]
    assert "400" in display.data["text/plain"]


def test_an_awaited_upload_works_and_shows_nothing_unless_it_is_told_to(
    notebook: Notebook, server: House
) -> None:
    (result,) = notebook.run(AWAITED)
    assert server.files[0].id in result.data["text/plain"]
    display, result = notebook.run(AWAITED.replace("part_size", "progress=True, part_size"))
    assert "100 %" in display.data["text/plain"]
    assert server.files[1].id in result.data["text/plain"]


def test_a_display_belongs_to_the_cell_that_began_the_upload(
    notebook: Notebook, server: House
) -> None:
    with holding(server, after=5) as gate:
        outputs = notebook.run(
            "uploader = chunkup.Uploader(part_size=1000)\n"
            "run = uploader.start('a.bin', purpose='user_data')\nrun.ready()"
        )
        gate.wait()
        gate.open()
        (result,) = notebook.run("run.result().bytes")
    assert result.data["text/plain"] == str(SIZE)
    (display,) = [one for one in outputs if one.output_type == "display_data"]
    assert "100 %" in display.data["text/plain"]


def test_nothing_is_shown_if_that_was_said(notebook: Notebook) -> None:
    (result,) = notebook.run(UPLOAD.replace("part_size", "progress=False, part_size"))
    assert result.output_type == "execute_result"
