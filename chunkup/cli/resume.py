"""``chunkup resume``."""

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import click

from chunkup.cli import complete
from chunkup.cli.options import (
    How,
    Size,
    Where,
    make_engine,
    setting,
    take,
    transport_options,
    where_options,
)
from chunkup.cli.talk import Talk, talk_options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from chunkup.cli.transfer import Task
    from chunkup.dataset import Dataset
    from chunkup.engine import Engine, Orders
    from chunkup.journal import JobLine
    from chunkup.models import Job
    from chunkup.selection import Selection

# More files of one set than this are told in one line.
_FEW: Final = 3

# What an upload is cannot be changed any more. The flags exist to be refused with what is.
_CONTENT: "dict[str, Callable[[Job], object]]" = {
    "--purpose": lambda job: f"for {job.purpose}",
    "--filename": lambda job: f"named {job.filename}",
    "--mime-type": lambda job: f"of type {job.mime_type}",
    "--expires-after": lambda job: f"to expire after {job.expires_after or 'no'} seconds",
    "--no-md5": lambda job: "with its MD5" if job.md5 else "without its MD5",
}


def _content_options(function: "Callable[..., int]") -> "Callable[..., int]":
    for flag in _CONTENT:
        short = ["-p"] if flag == "--purpose" else []
        switch = flag == "--no-md5"
        function = click.option(
            flag, *short, hidden=True, is_flag=switch, default=False if switch else None
        )(function)
    return function


@click.command(short_help="Continue uploads that stopped.")
@click.argument(
    "jobs",
    nargs=-1,
    metavar="[JOB or PATH]...",
    shell_complete=complete.open_jobs_and_paths,
)
@click.option("--all", "every", is_flag=True, help="Without arguments: jobs of any age.")
@click.option(
    "--source",
    metavar="PATH",
    type=click.Path(),
    help="Where the file is now, if it moved; proof decides. For a single JOB.",
)
@click.option(
    "--accept",
    metavar="FILE_ID",
    help="For a JOB in doubt: this File is the one, if nothing speaks against it.",
)
@click.option(
    "--again",
    is_flag=True,
    help="For a JOB in doubt: send it once more. A second File may appear.",
)
@click.option(
    "--takeover",
    is_flag=True,
    help="Take JOB from a process that holds it and does not stop when asked.",
)
@setting(
    "--part-size",
    type=Size(),
    help="Bytes of a part, for what is not sent yet.  [default: as the job began]",
)
@transport_options
@talk_options
@where_options
@_content_options
def resume(jobs: tuple[str, ...], **values: Any) -> int:
    """Continue stopped jobs and print their File ids.

    Without arguments: all that stopped within seven days at this destination and account, and
    ids that were never printed. Every set of files that is continued is printed whole.

    What they upload is in the journal; only how to send it can be said anew.
    """
    from chunkup.cli.transfer import Transfer
    from chunkup.engine import Orders

    where: Where = take(Where, values)
    how: How = take(How, values)
    talk: Talk = take(Talk, values)
    orders = Orders(
        source=values["source"],
        part_size=values["part_size"],
        accept=values["accept"],
        again=values["again"],
        takeover=values["takeover"],
    )
    personal = [name for name in ("source", "accept", "again", "takeover") if values[name]]
    if personal and len(jobs) != 1:
        raise click.UsageError(f"--{personal[0]} is about one job; name that JOB")
    if values["accept"] and values["again"]:
        raise click.UsageError("--accept takes a File and --again makes one; say one of them")
    fixed = [flag for flag in _CONTENT if values[flag[2:].replace("-", "_")] not in {None, False}]
    say = _nothing if talk.quiet else partial(click.echo, err=True)
    find = (
        partial(_named, names=jobs, say=say, orders=orders, fixed=fixed)
        if jobs
        else partial(_stopped, where=where, say=say, orders=orders, every=values["every"])
    )
    if fixed and not jobs:
        raise click.UsageError(f"{fixed[0]} was settled when each upload began")
    return Transfer(where, talk).carry_out(
        partial(make_engine, where, how), find, max_time=how.max_time
    )


async def _named(
    engine: "Engine",
    *,
    names: tuple[str, ...],
    say: "Callable[[str], None]",
    orders: "Orders",
    fixed: list[str],
) -> "Task":
    """The jobs that were named, by id or by the path of their file."""
    from chunkup import selection
    from chunkup.cli.transfer import Task
    from chunkup.errors import BadOption
    from chunkup.journal import busy

    jobs = [job for name in names for job in await find_jobs(engine, name)]
    for flag in fixed:
        raise BadOption(
            f"{flag} was settled when job {jobs[0].id} began: it is uploaded "
            f"{_CONTENT[flag](jobs[0])}",
            hint=f"chunkup resume {jobs[0].id}",
            job_id=jobs[0].id,
        )
    for flag, said in (("accept", orders.accept), ("again", orders.again)):
        if said and len(jobs) > 1:
            raise BadOption(
                f"--{flag} is about one job, and {names[0]} is uploaded in {len(jobs)} pieces",
                hint="chunkup jobs",
            )
    if orders.takeover:
        journal = await engine.journal()
        line = await journal.line(jobs[0].id)
        if line.holder is not None and journal.holder_lives(line):
            say(f"{busy(line.job.id, line.holder).message}; asking it to stop, then taking it over")
    if orders.accept is None and not orders.again:
        return Task(await _with_files(engine, jobs, orders), label=len(jobs) > 1)
    return Task(selection.named(engine, jobs, orders), label=len(jobs) > 1)


async def _with_files(engine: "Engine", jobs: "Sequence[Job]", orders: "Orders") -> "Dataset":
    """These jobs; what has become a File already has nothing to run for."""
    from chunkup.dataset import Dataset
    from chunkup.journal import Adopted, Standing
    from chunkup.selection import named

    journal = await engine.journal()
    members = []
    for member in named(engine, jobs, orders).members:
        file = (await journal.files(member.job.set_id)).get(member.job.id)
        if file is not None:
            member = replace(member, adopted=Adopted(member.job, Standing.DONE, file))  # noqa: PLW2901  (the same one, told whole)
        members.append(member)
    return Dataset(engine, members)


async def find_jobs(engine: "Engine", name: str) -> "list[Job]":
    """The job with this id, or those of the file at this path: what is open of it, else the last.

    Several are the pieces of a file that is uploaded in such.

    Raises:
        NoSuchJob: There is none, or several fit that are not of one command.
    """
    import os

    from chunkup.errors import NoSuchJob
    from chunkup.machine import OPEN

    journal = await engine.journal()
    if "/" not in name and not os.path.exists(name):  # noqa: PTH110, ASYNC240  (before anything runs)
        return [await journal.job(name)]
    path = os.path.realpath(name)  # noqa: ASYNC240  (the same)
    found = [line for line in await journal.lines() if line.job.path == path]
    if not found:
        raise NoSuchJob(f"no job uploads {name}", hint="chunkup jobs")
    unfinished = [line.job for line in found if line.phase in OPEN]
    if len(unfinished) > 1 and all(job.cut for job in unfinished) and len(_sets(unfinished)) == 1:
        return unfinished
    if len(unfinished) > 1:
        ids = ", ".join(job.id for job in unfinished[:5]) + (", ..." if unfinished[5:] else "")
        raise NoSuchJob(f"{name} has several unfinished jobs: {ids}", hint="chunkup jobs")
    return [unfinished[0] if unfinished else found[-1].job]


def _sets(jobs: "Sequence[Job]") -> set[str]:
    return {job.set_id for job in jobs}


def _nothing(_: str) -> None:
    """Say nothing."""


async def _stopped(
    engine: "Engine",
    *,
    where: Where,
    say: "Callable[[str], None]",
    orders: "Orders",
    every: bool,
) -> "Task":
    """Every set in which something stopped here, or was never printed."""
    from chunkup.cli.inputs import still_needed
    from chunkup.cli.transfer import Task
    from chunkup.journal import busy
    from chunkup.selection import unfinished
    from chunkup.spool import Spool

    journal = await engine.journal()
    # A kill right after the last commit leaves standard input that no job needs any more.
    await Spool.beside(journal.path).sweep(partial(still_needed, journal))
    found = await unfinished(engine, any_age=every, orders=orders)
    for text in _announced(found, where):
        say(text)
    if not (found.dataset.members or found.left or found.held):
        say("there is nothing to continue")
    holder = next((line for line in found.held if line.holder is not None), None)
    held = busy(holder.job.id, holder.holder) if holder and holder.holder else None
    return Task(found.dataset, label=True, held=held)


def _announced(found: "Selection", where: Where) -> "Iterator[str]":
    """What will be done and what will not, before anything is: a line for each, or each set."""
    from chunkup.machine import Phase
    from chunkup.selection import ELSEWHERE

    reasons = {line.job.id: why for line, why in found.left}
    for lines in _by_set([line for line, _ in found.left]):
        there = Where.of(lines[0].job.account, where.journal)
        words = ["--all"] if len(lines) > _FEW else [line.job.id for line in lines]
        command, why = there.command("resume", *words), reasons[lines[0].job.id]
        key = " under its own key" if why == ELSEWHERE else ""
        yield f"leaving {_files(lines)}: {why}; take it{key} with: {command}"
    for lines in _by_set(found.held):
        yield f"leaving {_files(lines)}: another process is running it"
    for done in (False, True):
        what = "print the id of" if done else "continue"
        some = [line for line in found.taken if (line.phase is Phase.COMPLETED) is done]
        for lines in _by_set(some):
            yield f"{what} {_files(lines)}"


def _by_set(lines: "Sequence[JobLine]") -> "Iterator[list[JobLine]]":
    """Sets as one; what is only a few, each for itself."""
    sets: dict[str, list[JobLine]] = {}
    for line in lines:
        sets.setdefault(line.job.set_id, []).append(line)
    for found in sets.values():
        if len(found) > _FEW:
            yield found
        else:
            yield from ([line] for line in found)


def _files(lines: "Sequence[JobLine]") -> str:
    from chunkup.text import printable, size_text

    first, size = lines[0].job, size_text(sum(line.job.size for line in lines))
    if len(lines) == 1:
        return f"{first.id} ({printable(first.shown, 200)}, {size})"
    if all(line.job.cut and line.job.path == first.path for line in lines):
        return f"{len(lines)} pieces of {printable(first.path, 200)} ({size})"
    return f"{len(lines)} files of one command ({printable(first.path, 200)} and others, {size})"
