"""What every answer has: the API's objects, its error shape and its headers."""

import errno
import logging
import secrets
import sqlite3
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from chunkup.server.content import StoppedError
from chunkup.server.errors import ApiError
from chunkup.server.rows import FilePage, FileRow, PartRow, UploadRow

_log = logging.getLogger(__name__)

_STARTED: web.RequestKey[float] = web.RequestKey("started", float)


def upload_object(row: UploadRow, file: FileRow | None = None) -> dict[str, Any]:
    """Return an Upload; the key `file` is absent until it is completed, as recorded."""
    upload = {
        "id": row.id,
        "object": "upload",
        "bytes": row.bytes,
        "created_at": row.created_at,
        "filename": row.filename,
        "purpose": row.purpose,
        "status": row.status,
        "expires_at": row.expires_at,
    }
    return upload if file is None else upload | {"file": file_object(file)}


def part_object(row: PartRow) -> dict[str, Any]:
    """Return an UploadPart, which tells neither size nor digest."""
    return {
        "id": row.id,
        "object": "upload.part",
        "created_at": row.created_at,
        "upload_id": row.upload_id,
    }


def file_object(row: FileRow) -> dict[str, Any]:
    """Return an OpenAIFile; what is unset is null, as recorded, though the schema has no null."""
    return {
        "id": row.id,
        "object": "file",
        "bytes": row.bytes,
        "created_at": row.created_at,
        "filename": row.filename,
        "purpose": row.purpose,
        "status": "processed",
        "expires_at": row.expires_at,
        "status_details": None,
    }


def list_object(page: FilePage) -> dict[str, Any]:
    """Return a ListFilesResponse; an empty one has empty ids, which the schema asks for."""
    return {
        "object": "list",
        "data": [file_object(file) for file in page.files],
        "first_id": page.files[0].id if page.files else "",
        "last_id": page.files[-1].id if page.files else "",
        "has_more": page.has_more,
    }


@web.middleware
async def start_clock(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Note when the request began, for `openai-processing-ms`."""
    request[_STARTED] = time.monotonic()
    return await handler(request)


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn whatever was raised into the API's error object."""
    try:
        return await handler(request)
    except ConnectionError:
        # The client went away. Nobody will read this; raised further it would be logged as a bug.
        return web.Response(status=499)
    except ApiError as error:
        return error_response(error)
    except web.HTTPException as error:
        return http_refusal(request, error)
    except web.RequestPayloadError:
        return error_response(ApiError(400, "Could not read the body: it is malformed."))
    except StoppedError:
        message = "The server is shutting down."
        return error_response(ApiError(503, message, kind="server_error"))
    except (OSError, sqlite3.Error) as error:
        _log.error("%s %s failed: %s", request.method, request.rel_url.raw_path, error)
        full = "full" if _is_full(error) else "failing"
        return error_response(ApiError(500, f"The server's disk is {full}.", kind="server_error"))
    except Exception:  # noqa: BLE001 - the last resort: a bug is a 500 in the same shape
        _log.exception("%s %s failed", request.method, request.rel_url.raw_path)
        message = "The server had an error while processing your request."
        return error_response(ApiError(500, message, kind="server_error"))


def _is_full(error: OSError | sqlite3.Error) -> bool:
    if isinstance(error, OSError):
        return error.errno in {errno.ENOSPC, errno.EDQUOT}
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL


def stamp(
    clock: Callable[[], float],
) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """Return the hook that adds the headers api.openai.com was seen to send.

    `Date` comes from the clock that also gives `created_at`: clients measure their own clock
    against it.
    """

    async def hook(request: web.Request, response: web.StreamResponse) -> None:
        stamp_now(response, clock, started=request.get(_STARTED))

    return hook


def stamp_now(
    response: web.StreamResponse, clock: Callable[[], float], started: float | None = None
) -> None:
    """Add those headers at once; `started` is when the request began, by the monotonic clock."""
    milliseconds = 0 if started is None else int((time.monotonic() - started) * 1000)
    response.headers["Date"] = formatdate(clock(), usegmt=True)
    response.headers.setdefault("x-request-id", f"req_{secrets.token_hex(16)}")
    response.headers.setdefault("openai-version", "2020-10-01")
    response.headers.setdefault("openai-processing-ms", str(milliseconds))


def error_response(error: ApiError) -> web.Response:
    """Return the answer that a refusal is."""
    response = web.json_response(error.body(), status=error.status)
    if error.status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="OpenAI API"'
    if error.status == 408:
        response.force_close()
    return response


def http_refusal(request: web.BaseRequest, error: web.HTTPException) -> web.Response:
    """Return what aiohttp raised, in the API's words and shape."""
    kind = "server_error" if error.status >= 500 else "invalid_request_error"
    where = f"{request.method} {request.path}"
    match error.status:
        case 404:
            refusal = ApiError(404, f"Invalid URL ({where})")
        case 405:
            refusal = ApiError(405, f"Method not allowed ({where})", code="method_not_supported")
        case 413:
            refusal = ApiError(413, "The body is too large.", code="request_too_large")
        case status:
            refusal = ApiError(status, error.reason, kind=kind)
    response = error_response(refusal)
    for name, value in error.headers.items():
        if name.lower() not in ("content-type", "content-length"):
            response.headers[name] = value
    return response
