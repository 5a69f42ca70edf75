"""Servers that answer as a provider's own documents and recordings have it.

Every body is one of tests/data/providers, where its source stands beside it; what differs from
File to File is a word in braces there and is filled in here. What no source quotes has no answer:
the imitation then answers 501, which no test may take for the provider's word. A status whose
body no source keeps is sent with an empty one.

A body never comes from chunkup's presets, which are what is under test.
"""

import asyncio
import json
import re
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from aiohttp import BodyPartReader, web

# A value that is nothing but one word in braces keeps its kind: a number stays one.
_ONE = re.compile(r"\{(\w+)\}")
# Below what the Files are, at whoever it is.
_ROOT = re.compile(r"^(/openai)?(/v1)?")
DATA = Path(__file__).parent / "data" / "providers"
# The embedded server imitates nobody: its own tests hold it to the official contract.
IMITATED = sorted(path.stem for path in DATA.glob("*.json"))


@cache
def quoted(name: str) -> dict[str, Any]:
    """What is quoted of a provider; see tests/data/providers."""
    found = json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


@dataclass
class Stored:
    """A File or an Upload, and what it was asked to be."""

    values: dict[str, Any]
    content: bytes = b""
    parts: dict[str, bytes] = field(default_factory=dict)
    status: str = "pending"
    file: "Stored | None" = None


@dataclass(frozen=True, slots=True)
class Form:
    """A form as it arrived: its fields in their order, a file as a tuple."""

    order: list[str]
    fields: dict[str, str]
    content: bytes
    filename: str
    mime_type: str | None


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it arrived, its headers by lower-case names."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    form: Form | None = None
    body: Any = None


class Refusal(Exception):
    """Answer with what is quoted under this name."""


@dataclass
class Imitation:
    """One provider on loopback. ``asked`` are the requests in order.

    ``most`` is how many bytes it takes, where a source says how it refuses more; ``full`` whether
    its storage is. ``lost`` answers to new Files
    and ``lost_parts`` to parts never arrive. ``rising`` puts the oldest first.
    ``watched`` holds each request for a moment, and ``together`` is how many there were at once.
    """

    name: str
    url: str = ""
    files: dict[str, Stored] = field(default_factory=dict)
    uploads: dict[str, Stored] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    most: int | None = None
    full: bool = False
    lost: int = 0
    lost_parts: int = 0
    rising: bool = False
    watched: bool = False
    together: int = 0
    _busy: int = 0
    _second: asyncio.Event = field(default_factory=asyncio.Event)

    def quotes(self, call: str) -> bool:
        """Whether a source says how this call is answered."""
        answers = quoted(self.name)["answers"]
        return call in answers or (call in {"retrieve", "item"} and "post" in answers)

    # --- how it answers ---------------------------------------------------------------------

    def answer(
        self, call: str, values: dict[str, Any], stored: Stored | None = None
    ) -> web.Response:
        """What is quoted for a call, filled in."""
        answers = quoted(self.name)["answers"]
        found = answers.get(call) or answers.get("post" if call in {"retrieve", "item"} else call)
        if found is None:
            # Any server answers a File that is not there with 404; nothing is quoted of the body.
            return web.Response(status=404 if call == "missing" else 501)
        body = self._filled(found["body"], values, stored)
        headers = {
            name: self._filled(text, values, None) for name, text in found["headers"].items()
        }
        status = found["status"] if call in answers else 200
        if body is None:
            return web.Response(status=status, headers=headers)
        return web.json_response(body, status=status, headers=headers)

    def _filled(self, template: Any, values: dict[str, Any], stored: Stored | None) -> Any:
        if isinstance(template, dict):
            return {name: self._filled(part, values, stored) for name, part in template.items()}
        if template == ["{item}"]:
            return [self._item(file) for file in values["items"]]
        if template == "{item}":
            assert stored is not None
            return self._item(stored)
        if isinstance(template, str) and (one := _ONE.fullmatch(template)):
            return values[one[1]]
        return template.format(**values) if isinstance(template, str) else template

    def _item(self, file: Stored) -> Any:
        answers = quoted(self.name)["answers"]
        shape = answers.get("item") or answers.get("retrieve") or answers["post"]
        return self._filled(shape["body"], file.values, None)

    def make(self, pattern: str, **values: Any) -> Stored:
        """Something new, with an id of the provider's form."""
        now = int(time.time())
        new = pattern.format(hex=uuid.uuid4().hex[:24], uuid=str(uuid.uuid4()))
        said = {
            "created_at": now,
            "iso": datetime.fromtimestamp(now, UTC).isoformat().replace("+00:00", "Z"),
            "in_an_hour": now + 3600,
            "in_two_hours": now + 7200,
            "in_a_day": now + 86400,
            "in_a_month": now + 2_592_000,
            "expires_at": None,
            "base": self.url,
            "block": "LnmictL3p0u4LH/ko343nw==",
        }
        return Stored({**said, "id": new, **values})

    def make_file(self, content: bytes, **values: Any) -> Stored:
        """A new File; the youngest is the first of a list."""
        file = self.make(quoted(self.name)["ids"], bytes=len(content), **values)
        file.content = content
        self.files = {file.values["id"]: file, **self.files}
        return file

    # --- what is asked of it ------------------------------------------------------------------

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Every request comes through here."""
        self._busy += 1
        self.together = max(self.together, self._busy)
        try:
            if self.watched:
                if self._busy > 1:
                    self._second.set()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._second.wait(), 0.1)
            return await self._answered(request)
        finally:
            self._busy -= 1

    async def _answered(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        form = body = None
        if request.content_type.startswith("multipart/"):
            form = await _form(request)
        elif request.can_read_body:
            body = json.loads(await request.read() or b"{}")
        path = _ROOT.sub("", request.path).strip("/")
        asked = Asked(request.method, path, dict(request.query), headers, form, body)
        self.asked.append(asked)
        try:
            rule = getattr(self, f"_rules_of_{self.name.replace('-', '_')}", None)
            if rule is not None and (special := rule(asked)) is not None:
                assert isinstance(special, web.StreamResponse)
                return special
            return self._routed(asked)
        except ConnectionAbortedError:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        except Refusal as refusal:
            file_id = asked.path.split("/")[1] if "/" in asked.path else ""
            values = {**(form.fields if form else {}), **(body or {}), "id": file_id}
            return self.answer(str(refusal), values)

    def _routed(self, asked: Asked) -> web.StreamResponse:
        match asked.method, asked.path.split("/"):
            case "POST", ["files"] if asked.form is not None:
                form = asked.form
                seconds = form.fields.get("expires_after[seconds]")
                file = self.make_file(
                    form.content,
                    filename=form.filename,
                    purpose=form.fields.get("purpose", ""),
                    mime_type=form.mime_type,
                )
                if seconds is not None:
                    file.values["expires_at"] = file.values["created_at"] + int(seconds)
                if self.lost:
                    self.lost -= 1
                    raise ConnectionAbortedError
                return self.answer("post", file.values)
            case "GET", ["files"]:
                return self._list(asked)
            case method, ["files", file_id, *rest]:
                file = self._known(self.files, file_id)
                if method == "DELETE":
                    if not self.quotes("delete"):
                        return self.answer("delete", {})
                    del self.files[file_id]
                    return self.answer("delete", file.values)
                if rest == ["content"]:
                    return web.Response(body=file.content)
                return self.answer("retrieve", file.values)
            case "POST", ["uploads", *rest] if self.quotes("create"):
                return self._upload(asked, *rest)
            case _:
                return web.Response(status=404)

    def _known(self, known: dict[str, Stored], name: str) -> Stored:
        if name not in known:
            raise Refusal("missing")
        return known[name]

    def _list(self, asked: Asked) -> web.Response:
        files = sorted(
            self.files.values(),
            key=lambda file: int(file.values["created_at"]),
            reverse=not self.rising,
        )
        if "purpose" in asked.query:
            files = [file for file in files if file.values["purpose"] == asked.query["purpose"]]
        total = len(files)
        if "page" in asked.query:
            size = int(asked.query["page_size"])
            files = files[int(asked.query["page"]) * size :][:size]
        return self.answer("list", {"items": files, "total": total})

    def _upload(self, asked: Asked, upload_id: str = "", act: str = "") -> web.Response:
        own = quoted(self.name)
        if not upload_id:
            wanted = asked.body
            upload = self.make(own["upload_ids"], **wanted)
            upload.values["upload_id"] = upload.values["id"]
            self.uploads[upload.values["id"]] = upload
            return self.answer("create", upload.values)
        upload = self._known(self.uploads, upload_id)
        if act == "parts" and asked.form is not None:
            part = self.make(own["part_ids"], upload_id=upload_id)
            upload.parts[part.values["id"]] = asked.form.content
            if self.lost_parts:
                self.lost_parts -= 1
                raise ConnectionAbortedError
            return self.answer("part", {**part.values, "part_id": part.values["id"]})
        if act == "cancel":
            return self.answer("cancel", upload.values)
        content = b"".join(upload.parts[part_id] for part_id in asked.body["part_ids"])
        file = self.make_file(
            content,
            filename=upload.values["filename"],
            purpose=upload.values["purpose"],
            mime_type=upload.values["mime_type"],
        )
        if self.name == "openai":
            file.values["created_at"] = upload.values["created_at"]
        upload.status, upload.file = "completed", file
        return self.answer("complete", upload.values, file)

    # --- what is known of single ones: the rules of tests/data/providers ------------------------

    def _rules_of_openai(self, asked: Asked) -> None:
        six = {"fine-tune", "assistants", "batch", "user_data", "vision", "evals"}
        form = asked.form if asked.path == "files" else None
        if form is not None and form.fields.get("purpose") not in six:
            raise Refusal("bad-purpose")

    def _rules_of_azure(self, asked: Asked) -> web.Response | None:
        # A token of Entra is a JWT; a key is none.
        token = asked.headers.get("authorization", "").startswith("Bearer eyJ")
        if ("api-key" in asked.headers) is token:
            return web.Response(status=401)
        if "api-version" not in asked.query:
            return web.Response(status=404)
        if asked.form is not None and asked.form.mime_type is None:
            raise Refusal("no-content-type")
        purpose = asked.form.fields.get("purpose") if asked.path == "files" and asked.form else None
        if purpose not in {None, "fine-tune", "assistants", "batch"}:
            raise Refusal("bad-purpose")
        return None

    def _rules_of_xai(self, asked: Asked) -> None:
        if asked.form is not None and "file" in asked.form.order:
            behind = asked.form.order[asked.form.order.index("file") :]
            if any(name.startswith("expires_after") for name in behind):
                raise Refusal("late-expiry")

    def _rules_of_openrouter(self, asked: Asked) -> None:
        if asked.form is not None and self.most and len(asked.form.content) > self.most:
            raise Refusal("too-large")
        if asked.form is not None and self.full:
            raise Refusal("full")

    def _rules_of_stdapi(self, asked: Asked) -> None:
        name = asked.form.filename if asked.form and asked.path == "files" else None
        if asked.path == "uploads":
            name = asked.body["filename"]
        if name is not None and any(char in name for char in '"\r\n'):
            raise Refusal("bad-name")
        if asked.path.endswith("/complete"):
            upload = self._known(self.uploads, asked.path.split("/")[1])
            arrived = [part for part in upload.parts if part in asked.body["part_ids"]]
            if arrived != asked.body["part_ids"]:
                raise Refusal("unordered")

    def _rules_of_mockai(self, asked: Asked) -> web.Response | None:
        if not asked.path.startswith("uploads/"):
            return None
        upload = self._known(self.uploads, asked.path.split("/")[1])
        if asked.path.endswith("/parts") and asked.form is not None:
            sent = sum(map(len, upload.parts.values())) + len(asked.form.content)
            if sent > upload.values["bytes"]:
                raise Refusal("too-many-bytes")
        elif upload.status != "pending":
            return self.answer("ended", {"status": upload.status})
        elif asked.path.endswith("/complete"):
            response = self._upload(asked, *asked.path.split("/")[1:])
            self.files.clear()
            return response
        return None


async def _form(request: web.Request) -> Form:
    order: list[str] = []
    fields: dict[str, str] = {}
    content, filename, mime_type = b"", "", None
    async for part in await request.multipart():
        assert isinstance(part, BodyPartReader)
        name = part.name or ""
        order.append(name)
        if part.filename is None:
            fields[name] = (await part.read()).decode()
        else:
            content, filename = bytes(await part.read()), part.filename
            mime_type = part.headers.get("Content-Type")
    return Form(order, fields, content, filename, mime_type)


@asynccontextmanager
async def imitation(name: str) -> AsyncIterator[Imitation]:
    """A provider on loopback, gone when the block is left."""
    server = Imitation(name)
    app = web.Application(client_max_size=1 << 26)
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        yield server
    finally:
        await runner.cleanup()
