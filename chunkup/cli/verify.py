"""``chunkup verify``: whether the Files of a manifest are still what it says."""

import json
import time
from collections import Counter
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import click

from chunkup.cli.errands import Errands
from chunkup.cli.options import Where, patience_options, setting, where_options
from chunkup.errors import ChunkupError, OtherAccount, Stopped
from chunkup.text import printable, size_text

if TYPE_CHECKING:
    from chunkup.engine import Engine
    from chunkup.models import Account
    from chunkup.verifying import Verified

_STATES: Final = ("ok", "gone", "differs", "unknown")


@click.command(short_help="Ask the server about every File of a manifest.")
@click.argument("manifest", type=click.Path())
@setting("--no-content", is_flag=True, help="Compare no contents: ask what Files there are.")
@setting("--json", "as_json", is_flag=True, help="Print one JSON object a File, and a summary.")
@setting("--quiet", "-q", is_flag=True, help="Only results and errors.")
@where_options
@patience_options
def verify(manifest: str, *, no_content: bool, as_json: bool, quiet: bool, **values: Any) -> int:
    """Ask the server about every File that MANIFEST names, and change nothing.

    Prints a line for each: ok, gone, differs or unknown, the id, and the path as `chunkup upload`
    printed it. Size, name, purpose and state have to be those of the manifest, and the content as
    well where the server gives it back (OpenAI does for batch and vision, and for most purposes it
    does not). A content is compared by its MD5 while it comes in; it is not kept.

    Exit 0 if all are ok, 1 if any is not, 75 if the server could not be asked.
    """
    errands = Errands(values)
    told = _Told(errands, manifest, as_json=as_json, quiet=quiet)
    words = ("verify", manifest, *["--no-content"] * no_content)

    async def work(engine: "Engine") -> int:
        from chunkup.verifying import verify as visited

        async with aclosing(visited(engine, manifest, content=not no_content)) as found:
            async for one in found:
                told.one(one)
                if errands.deaf:
                    return 1
        return told.exit_code

    try:
        code = errands.with_engine(work, go_on=lambda: errands.command(*words))
    except ChunkupError as error:
        told.end(error.exit_code, error)
        raise
    told.end(code)
    return code


@dataclass(slots=True)
class _Told:
    """What was said so far: results on standard output, and talk on standard error."""

    errands: Errands
    manifest: str
    as_json: bool
    quiet: bool
    counts: Counter[str] = field(default_factory=Counter)
    size: int = 0
    compared: int = 0
    why_not: str | None = None
    elsewhere: dict["Account", None] = field(default_factory=dict)
    exit_code: int = 0

    def one(self, found: "Verified") -> None:
        """One more File."""
        entry, state = found.entry, found.state.value
        self.counts[state] += 1
        self.size += entry.bytes
        self.compared += found.compared
        if self.as_json:
            self._record("verified", **_fields(found))
        else:
            shown = printable(entry.shown, 4096)
            self.errands.put(f"{state}\t{printable(entry.file, 5000)}\t{shown}")
        if state == "ok":
            self.why_not = self.why_not or found.message
            return
        later = isinstance(found.error, Stopped) and self.exit_code in {0, Stopped.exit_code}
        self.exit_code = Stopped.exit_code if later else 1
        if isinstance(found.error, OtherAccount):
            self.elsewhere[entry.account] = None
        named = f"{printable(entry.shown)} ({printable(entry.file)})"
        click.echo(f"{state}: {named}: {printable(found.message or '', 2000)}", err=True)

    def end(self, exit_code: int, error: ChunkupError | None = None) -> None:
        """All of them, or as many as there could be."""
        if not self.quiet and (self.counts or error is None):
            click.echo(self._balance(), err=True)
        for account in self.elsewhere:
            # With the key of that account, wherever its place says that it is.
            there = replace(Where.of(account, None), no_key=False)
            command = there.command("verify", self.manifest)
            click.echo(f"\nhint: {printable(command, 20_000)}", err=True)
        if self.as_json:
            with suppress(ChunkupError):  # standard output failed, which is said already
                self._record(
                    "summary",
                    exit_code=exit_code,
                    files=self.counts.total(),
                    **{state: self.counts[state] for state in _STATES},
                    compared=self.compared,
                    bytes=self.size,
                    code=error.code if error else None,
                    message=error.message if error else None,
                    hint=error.hint if error else None,
                )

    def _balance(self) -> str:
        total = self.counts.total()
        if not total:
            return "the manifest names no File"
        files = "1 File" if total == 1 else f"{total} Files"
        states = ", ".join(f"{self.counts[one]} {one}" for one in _STATES if self.counts[one])
        said = f"{files}, {size_text(self.size)}: {states}; content compared: {self.compared}"
        if self.why_not is not None:
            said += f" (not compared, such as: {printable(self.why_not, 500)})"
        return said

    def _record(self, event: str, **said: Any) -> None:
        line = {"v": 1, "time": time.time(), "event": event, **said}
        self.errands.put(json.dumps(line, ensure_ascii=True))


def _fields(found: "Verified") -> dict[str, Any]:
    entry = found.entry
    return {
        "job": entry.job,
        "path": entry.shown,
        "file": entry.file,
        "state": found.state.value,
        "message": found.message,
        "code": found.error.code if found.error else None,
        "compared": found.compared,
        "source": entry.source,
        "start": entry.start,
        "stop": entry.stop,
    }
