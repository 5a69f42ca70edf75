"""What a query and a Range header ask for, as values."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web
from multidict import MultiMapping

from chunkup.server.bodies import whole_number
from chunkup.server.errors import invalid

MAX_PAGE = 10_000

_RANGE = re.compile("bytes=([0-9]{0,18})-([0-9]{0,18})")


@dataclass(frozen=True, slots=True)
class Listing:
    """Which files, in which order, how many at most, and after which of them."""

    purpose: str | None
    limit: int
    newest_first: bool
    after: str | None


def listing(query: MultiMapping[str]) -> Listing:
    """Read the query of GET /files; names that the API does not know are ignored, as it does.

    Raises:
        ApiError: 400 naming the first parameter that is wrong or given twice.
    """
    for name in ("purpose", "limit", "order", "after"):
        if len(query.getall(name, [])) > 1:
            raise invalid(name, f"Invalid '{name}': given more than once.")
    limit = whole_number("limit", query.get("limit", str(MAX_PAGE)))
    if not 1 <= limit <= MAX_PAGE:
        raise invalid("limit", f"Invalid 'limit': expected 1 to {MAX_PAGE}, but got {limit}.")
    order = query.get("order", "desc")
    if order not in ("asc", "desc"):
        raise invalid("order", "Invalid 'order': expected 'asc' or 'desc'.")
    return Listing(query.get("purpose"), limit, order == "desc", query.get("after"))


def byte_range(headers: Mapping[str, str], size: int) -> tuple[int, int] | None:
    """Return where the range asked for begins and ends; None when it is the whole content.

    A range that is malformed, multiple or conditional counts as none: no answer carries a
    validator that If-Range could name.

    Raises:
        HTTPRequestRangeNotSatisfiable: it is all beyond the `size` bytes that there are.
    """
    match = _RANGE.fullmatch(headers.get("Range", ""))
    if match is None or "If-Range" in headers:
        return None
    first, last = match.groups()
    if first:
        start, stop = int(first), min(size, int(last) + 1 if last else size)
        if last and int(last) < start:
            return None
    elif last:
        start, stop = max(0, size - int(last)), size
    else:
        return None
    if start >= stop:
        raise web.HTTPRequestRangeNotSatisfiable(headers={"Content-Range": f"bytes */{size}"})
    return start, stop
