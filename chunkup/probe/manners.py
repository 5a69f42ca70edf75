"""Questions about manners: how a refusal looks, and what every answer carries."""

import time
from typing import Final

from chunkup.probe.bench import Bench
from chunkup.probe.replies import Reply
from chunkup.probe.words import Found
from chunkup.verdicts import http_date

# Seconds by which two clocks may differ before anybody has to care.
_SKEW: Final = 5.0


async def _refusal(bench: Bench) -> Reply:
    """What is said of a File that never was."""
    return await bench.retrieve(f"file-{bench.mark}")


async def unknown_id(bench: Bench) -> Found:
    """The status of a refusal."""
    reply = await _refusal(bench)
    if reply.status in {404, 410}:
        return Found("gone", reply.seen)
    return Found("success" if reply.success else "other", reply.checked().seen)


async def shape(bench: Bench) -> Found:
    """The body of a refusal."""
    reply = await _refusal(bench)
    if reply.success:
        return Found("success", reply.seen)
    error = reply.data.get("error")
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        return Found("nested", str(reply.status))
    if reply.data:
        return Found("flat", reply.seen)
    return Found("page" if reply.raw.lstrip()[:1] == b"<" else "text", reply.seen)


async def request_id(bench: Bench) -> Found:
    """What a report to the operators would name."""
    headers = (await _refusal(bench)).headers
    known = next((name for name in ("x-request-id", "apim-request-id") if name in headers), None)
    return Found("there", known) if known else Found("absent")


async def clock(bench: Bench) -> Found:
    """The Date of an answer that was just made, against this machine's clock."""
    before = time.time()
    stamp = http_date((await _refusal(bench)).headers.get("date"))
    if stamp is None:
        return Found("unsaid")
    # A Date has whole seconds, and was written somewhere between the question and the answer.
    off = min(stamp + 1 - before, 0) or max(stamp - time.time(), 0)
    return Found("off" if abs(off) > _SKEW else "right", f"{off:+.0f} s")
