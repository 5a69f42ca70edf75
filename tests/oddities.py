"""A server of Uploads and Files in memory, with oddities that a test can choose.

Each is one that some server was seen to have, or that a question of ``chunkup probe`` is about.
"""

import base64
import hashlib
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Odd:
    """The server: ``has`` are its oddities, ``files`` and ``uploads`` what it holds."""

    has: frozenset[str]
    url: str = ""
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    uploads: dict[str, dict[str, Any]] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    calls: list[tuple[str, str]] = field(default_factory=list)
    before: Callable[[web.Request], Awaitable[web.StreamResponse | None]] | None = None
    _count: Any = field(default_factory=lambda: itertools.count(1))

    @property
    def pending(self) -> list[str]:
        return [key for key, one in self.uploads.items() if one["status"] == "pending"]

    # --- Uploads

    async def create(self, request: web.Request) -> web.Response:
        if "no-uploads" in self.has:
            return self.no(501, "there are none")
        said = await request.json()
        now = int(time.time())
        upload = {
            **{name: said[name] for name in ("filename", "bytes", "purpose")},
            "id": f"upload_{next(self._count)}",
            "object": "upload",
            "status": "pending",
            "created_at": now,
            "expires_at": now + 7200,
            "wish": said.get("expires_after"),
            "parts": {},
        }
        if "no-expiry-told" in self.has:
            del upload["expires_at"]
        if said["purpose"] == "user_data" and "four-purposes" in self.has:
            return self.no(400, "'user_data' is not one of four - 'purpose'")
        self.uploads[upload["id"]] = upload
        return self.yes(upload)

    async def part(self, request: web.Request) -> web.Response:
        upload = self.uploads[request.match_info["id"]]
        content = (await _form(request))["data"][1]
        if upload["status"] == "cancelled" and "parts-after" not in self.has:
            return self.no(400, "Upload is cancelled.")
        stored = sum(map(len, upload["parts"].values()))
        if "count" in self.has and stored + len(content) > upload["bytes"]:
            return self.no(400, "Total uploaded bytes would exceed specified size")
        if not content and "no-empty" in self.has:
            return self.no(400, "an empty part")
        part_id = f"part_{next(self._count)}"
        upload["parts"][part_id] = content
        return self.yes({"id": part_id, "object": "upload.part", "upload_id": upload["id"]})

    async def complete(self, request: web.Request) -> web.Response:
        upload = self.uploads[request.match_info["id"]]
        said = await request.json()
        if upload["status"] == "completed" and "second-file" not in self.has:
            if "same-file" in self.has:
                return self.yes({**upload, "file": self.files[upload["became"]]})
            return self.no(400, "Upload is completed.")
        if upload["status"] == "failed":
            return self.no(400, "Upload has failed.")
        ids = said["part_ids"]
        if "unlisted-too" in self.has or "arrival" in self.has:
            wanted = list(upload["parts"]) if "unlisted-too" in self.has else sorted(set(ids))
            ids = [key for key in upload["parts"] if key in wanted]
        if not set(ids) <= set(upload["parts"]):
            if "final" in self.has:
                upload["status"] = "failed"
            return self.no(404, "No such part")
        if "refuse-orphans" in self.has and len(upload["parts"]) > len(ids):
            return self.no(400, "bytes in parts that are not listed")
        content = b"".join(upload["parts"][key] for key in ids)
        if len(content) != upload["bytes"] and not {"subset", "unlisted-too"} & self.has:
            return self.no(400, "Assembled size does not match declared bytes.")
        if (wish := said.get("md5")) is not None and "no-md5" not in self.has:
            digest = hashlib.md5(content).digest()
            right = {digest.hex()}
            if "base64" in self.has:
                right = {base64.b64encode(digest).decode()}
            if wish not in right:
                return self.no(400, "MD5 checksum mismatch")
        upload["status"] = "completed"
        file = self.keep(upload, content, upload["wish"])
        upload["became"] = file["id"]
        return self.yes({**upload, "file": file})

    async def cancel(self, request: web.Request) -> web.Response:
        upload = self.uploads[request.match_info["id"]]
        if "cancel-wants-body" in self.has and not await request.read():
            return self.no(500, "Unexpected end of JSON input")
        if upload["status"] == "completed" and "cancel-takes-file" in self.has:
            self.files.pop(upload["became"], None)
        elif upload["status"] != "pending" and "cancel-again" not in self.has:
            return self.no(400, f"Upload is {upload['status']}.")
        upload["status"] = "cancelled"
        return self.yes(upload)

    # --- Files

    def keep(self, said: dict[str, Any], content: bytes, wish: Any) -> dict[str, Any]:
        now = int(time.time())
        like = "stamps" not in self.has
        file = {
            "id": f"file-{next(self._count)}",
            "object": "file",
            "bytes": None if "null" in self.has else len(content),
            "created_at": now if like else said.get("created_at", now),
            "filename": said["filename"],
            "purpose": said["purpose"],
            "status": "ok" if "own-status" in self.has else "processed",
            "content": content,
        }
        if "names" in self.has:
            file["filename"] = file["filename"].replace('"', "").replace("\n", "")
        if "strangers" in self.has:
            file["filename"] = "payroll.jsonl"
        if wish and "no-expiry" not in self.has:
            file["expires_at"] = file["created_at"] + int(wish["seconds"])
        self.files[file["id"]] = file
        return file

    async def post(self, request: web.Request) -> web.Response:
        if "no-single" in self.has:
            return self.no(404, "Not Found")
        form = await _form(request)
        name, content = form["file"]
        wish = {"seconds": form["expires_after[seconds]"][1].decode()} if len(form) > 2 else None
        if wish and "expiry-refused" in self.has:
            return self.no(400, "expires_after is not supported")
        if form["purpose"][1] == b"chunkup-probe" and "any-purpose" not in self.has:
            return self.no(400, "'chunkup-probe' is not one of them")
        said = {"filename": name, "purpose": form["purpose"][1].decode()}
        return self.yes(self.keep(said, content, wish), 201)

    async def list(self, request: web.Request) -> web.Response:
        query = request.query
        found = list(self.files.values())[::-1]
        if "purpose" in query and "no-filter" not in self.has:
            found = [file for file in found if file["purpose"] == query["purpose"]]
        if query.get("order") == "asc" and "one-order" not in self.has:
            found = found[::-1]
        if query.get("after") and "no-after" not in self.has:
            ids = [file["id"] for file in found]
            found = found[ids.index(query["after"]) + 1 :]
        limit = int(query.get("limit", "10000")) if "no-limit" not in self.has else 10000
        more = len(found) > limit or "for-ever" in self.has
        page = [_shown(file) for file in found[:limit]]
        return web.json_response({"object": "list", "data": page, "has_more": more})

    async def retrieve(self, request: web.Request) -> web.Response:
        file = self.files.get(request.match_info["id"])
        if file is None:
            return self.no(404, "No such File object")
        file["looks"] = file.get("looks", 0) + 1
        if "late" in self.has and file["looks"] < 2:
            return self.no(404, "No such File object, yet")
        return self.yes(file)

    async def content(self, request: web.Request) -> web.Response:
        file = self.files.get(request.match_info["id"])
        if file is None or "no-content" in self.has:
            return self.no(400, "Not allowed to download files of this purpose")
        return web.Response(body=file["content"])

    async def delete(self, request: web.Request) -> web.Response:
        key = request.match_info["id"]
        if "undeletable" in self.has:
            return self.no(403, "no")
        if self.files.pop(key, None) is None:
            return self.no(404, "No such File object")
        self.deleted.append(key)
        return self.yes({"id": key, "object": "file", "deleted": True})

    # --- answers

    def yes(self, said: dict[str, Any], status: int = 200) -> web.Response:
        return web.json_response(_shown(said), status=status)

    def no(self, status: int, message: str) -> web.Response:
        if "text" in self.has:
            return web.Response(text=message, status=status)
        if "pages" in self.has:
            page = f"<html><style>p {{}}</style><title>{message}</title></html>"
            return web.Response(text=page, status=status, content_type="text/html")
        if "flat" in self.has:
            return web.json_response({"status": "failure", "message": message}, status=status)
        return web.json_response({"error": {"message": message, "type": "x"}}, status=status)


def _shown(said: dict[str, Any]) -> dict[str, Any]:
    hidden = {"content", "parts", "wish", "became", "looks"}
    clean = {name: value for name, value in said.items() if name not in hidden}
    if isinstance(clean.get("file"), dict):
        clean["file"] = _shown(clean["file"])
    return clean


async def _form(request: web.Request) -> dict[str, tuple[str, bytes]]:
    """The fields of a form by their names: filename, unescaped as browsers mean it, and bytes."""
    found: dict[str, tuple[str, bytes]] = {}
    edge = b"--" + request.headers["Content-Type"].partition("boundary=")[2].encode()
    for block in (await request.read()).split(edge)[1:-1]:
        head, _, content = block.partition(b"\r\n\r\n")
        words = dict(
            piece.strip().partition("=")[::2] for piece in head.decode().split("\r\n")[1].split(";")
        )
        name = words.get("filename", "").strip('"')
        for escape, char in (("%22", '"'), ("%0D", "\r"), ("%0A", "\n")):
            name = name.replace(escape, char)
        found[words["name"].strip('"')] = (name, content[:-2])
    return found


@asynccontextmanager
async def odd_server(*has: str) -> AsyncIterator[Odd]:
    """Listen on loopback with these oddities."""
    odd = Odd(frozenset(has))

    @web.middleware
    async def through(request: web.Request, handler: Handler) -> web.StreamResponse:
        odd.calls.append((request.method, request.path))
        instead = await odd.before(request) if odd.before else None
        return instead or await handler(request)

    app = web.Application(middlewares=[through])
    app.add_routes(
        [
            web.post("/v1/uploads", odd.create),
            web.post("/v1/uploads/{id}/parts", odd.part),
            web.post("/v1/uploads/{id}/complete", odd.complete),
            web.post("/v1/uploads/{id}/cancel", odd.cancel),
            web.post("/v1/files", odd.post),
            web.get("/v1/files", odd.list),
            web.get("/v1/files/{id}", odd.retrieve),
            web.get("/v1/files/{id}/content", odd.content),
            web.delete("/v1/files/{id}", odd.delete),
        ]
    )
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    odd.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        yield odd
    finally:
        await runner.cleanup()
