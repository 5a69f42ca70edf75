"""Size, limits and speed in, a plan out, or a refusal before anything is sent."""

import shlex
from collections.abc import Iterable, Iterator
from typing import Final

from chunkup.errors import BadOption, EmptyFile, TooLarge, TooSlow
from chunkup.models import MIB, Limits, Part, Plan, Span, Split
from chunkup.text import duration_text, size_text

# Seconds that an Upload surely lives: an hour at OpenAI, longer elsewhere.
LIFE: Final = 3600.0


def plan(  # noqa: PLR0913  (what a plan follows from)
    span: Span,
    *,
    part_size: int,
    purpose: str,
    limits: Limits,
    path: str = "the file",
    single: bool = False,
) -> Plan:
    """Cut a stretch into parts that the provider takes, or into one for a ``single`` request.

    Raises:
        BadOption: The part size is not between 1 and the provider's limit.
        TooLarge: The stretch is longer than the provider takes for this purpose.
    """
    in_parts(part_size, limits)
    fits(span, purpose, limits, single=single, path=path)
    return Plan(span, span.size if single else part_size)


def in_parts(part_size: int, limits: Limits) -> None:
    """See that a provider takes parts of this size.

    Raises:
        BadOption: It is not between 1 and the provider's limit.
    """
    if not 1 <= part_size <= limits.part:
        raise BadOption(
            f"a part size of {part_size} bytes is not between 1 and {limits.part}",
            hint=f"leave --part-size away, or give at most {size_text(limits.part)}",
        )


def fits(
    span: Span, purpose: str, limits: Limits, *, single: bool = False, path: str = "the file"
) -> None:
    """See that a provider takes so much, in parts or in one request.

    Raises:
        TooLarge: It does not.
    """
    most = limits.largest(purpose, single=single)
    if most is not None and span.size > most:
        how = " in one request" if single else ""
        raise TooLarge(
            f"{path} has {size_text(span.size)}, more than the {size_text(most)} that this "
            f"provider takes{how} for purpose {purpose}",
            hint=f"cut the file into pieces of at most {size_text(most)} and upload each"
            if not is_jsonl(path)
            else shlex.join(["chunkup", "upload", path, "--purpose", purpose, "--split"]),
        )


def is_jsonl(path: str) -> bool:
    """Whether a file is one of records by its name, so that it can be cut between them."""
    return path.lower().endswith((".jsonl", ".ndjson"))


def whole(size: int, path: str = "the file") -> Span:
    """The stretch that is a whole file.

    Raises:
        EmptyFile: There is nothing to upload.
    """
    if size < 1:
        raise EmptyFile(
            f"{path} is empty, and the API takes no empty files",
            hint="see that whatever writes it is done, then run the same command",
        )
    return Span(0, size)


def piece_limits(
    split: Split,
    purpose: str,
    limits: Limits,
    *,
    single: bool = False,
    rate: float | None = None,
) -> Split:
    """How large the pieces of a file may be: as it is wished, else what the provider takes.

    Where the link is known to carry ``rate`` bytes a second, a piece that nobody gave a size is
    sent in half of an Upload's life: the other half is for what goes wrong.

    Raises:
        BadOption: More than the provider takes, or nobody says how much.
    """
    most, lines = limits.largest(purpose, single=single), dict(limits.records).get(purpose)
    if split.size is not None and most is not None and split.size > most:
        raise BadOption(
            f"a piece of {size_text(split.size)} is more than the {size_text(most)} that this "
            f"provider takes for purpose {purpose}",
            hint=f"--split-size {most}, or leave it away",
        )
    if split.lines is not None and lines is not None and split.lines > lines:
        raise BadOption(
            f"a piece of {split.lines} lines is more than the {lines} that this provider takes "
            f"for purpose {purpose}",
            hint=f"--split-lines {lines}, or leave it away",
        )
    size = split.size
    if size is None and rate is not None and not single:
        slow = max(MIB, int(rate * LIFE / 2) // MIB * MIB)
        most = slow if most is None else min(most, slow)
    found = Split(size or most, split.lines or lines)
    if found.size is None and found.lines is None:
        raise BadOption(
            f"this provider names no limit for purpose {purpose}, so pieces could have any size",
            hint="say how large they may be, such as --split-size 500MB",
        )
    return found


def in_time(size: int, life: float, *, rate: float, behind: float) -> None:
    """See that a file can be through before a new Upload is over.

    ``rate`` is the link's goodput in bytes a second, 0.0 where none is known; ``behind`` is how
    many seconds the reading of the file still takes by itself. Both run side by side.

    Raises:
        TooSlow: One of them takes longer than the ``life`` of an Upload, in seconds.
    """
    if rate > 0 and size / rate > life:
        raise TooSlow(
            f"at {size_text(rate)}/s {size_text(size)} need {duration_text(size / rate)}, and an "
            f"Upload lives {duration_text(life)}; it takes a faster link or disk, or smaller files"
        )
    if behind > life:
        raise TooSlow(
            f"reading {size_text(size)} for their MD5 takes {duration_text(behind)} more, and an "
            f"Upload lives {duration_text(life)}; it takes a faster disk, smaller files or --no-md5"
        )


def cut(missing: Iterable[Span], busy: Iterable[Span], part_size: int) -> Iterator[Part]:
    """Parts to send next: ``missing`` without ``busy``, cut to ``part_size``, in file order.

    Both inputs are in file order and free of overlaps. Every gap is cut from its own start,
    so with one part size the cuts are those of the plan, and with another they fit between
    the receipts that exist.
    """
    taken = list(busy)
    for gap in missing:
        at = gap.start
        for held in taken:
            if held.stop <= at or held.start >= gap.stop:
                continue
            yield from _pieces(at, held.start, part_size)
            at = held.stop
        yield from _pieces(at, gap.stop, part_size)


def _pieces(start: int, stop: int, part_size: int) -> Iterator[Part]:
    for at in range(start, stop, part_size):
        yield Part(at, min(at + part_size, stop))
