"""What comes after an upload: an imitation of /batches and /vector_stores.

It stands before the embedded server (``house.intercept = later``), reads its Files, and leaves
results there as Files. Shapes are those of the official SDK's types, held to them by
test_recipes.py; which answers a batch gives to its requests, a test decides. It is strict where
the API is: what it does not know, it refuses.
"""

import asyncio
import itertools
import json
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import web
from house import Handler, House

from chunkup.server.errors import ApiError
from chunkup.server.rows import NewFile

Fate = Literal["good", "refused", "expired", "silent"]
"""What becomes of a request: an output, a 400 or an expiry among the errors, or nothing."""

LOT = 2000  # the most files of a file batch, by the SDK's own words
BATCH_FIELDS = {"input_file_id", "endpoint", "completion_window", "metadata"}
STATES = ("validating", "in_progress", "finalizing", "completed")


@dataclass
class Later:
    """Batches and vector stores over the Files of ``house``.

    ``looks`` is how many answers about a batch tell of a state before the next comes. ``created``
    names the input File of every batch, in their order. A test that holds the answer to a create
    sets ``hold``: it is awaited with "before" the batch is made and with "after".
    """

    house: House
    key: str
    fate: Callable[[str], Fate] = lambda _custom_id: "good"
    looks: int = 1
    at_most: int = 1 << 30
    hold: Callable[[str], Any] | None = None
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)
    created: list[str] = field(default_factory=list)
    most_under_way: int = 0
    stores: dict[str, dict[str, Any]] = field(default_factory=dict)
    attached: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    lots: list[int] = field(default_factory=list)
    unsupported: set[str] = field(default_factory=set)
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    _looked: dict[str, int] = field(default_factory=dict)
    _dice: random.Random = field(default_factory=lambda: random.Random(7))

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer what is ours; all else is the server's."""
        match request.method, request.path.removeprefix("/v1").strip("/").split("/"):
            case _, ["batches" | "vector_stores", *_] if (
                request.headers.get("Authorization") != f"Bearer {self.key}"
            ):
                raise ApiError(401, "Incorrect API key provided.", code="invalid_api_key")
            case "POST", ["batches"]:
                return await self._create(await _asked(request, BATCH_FIELDS))
            case "GET", ["batches"]:
                newest_first = list(reversed(self.batches.values()))
                return _page(request, newest_first)
            case "GET", ["batches", batch_id]:
                return web.json_response(self._look(_known(self.batches, batch_id, "batch")))
            case "POST", ["vector_stores"]:
                return self._new_store(await _asked(request, {"name", "metadata"}))
            case "GET", ["vector_stores"]:
                return _page(request, list(reversed(self.stores.values())))
            case "POST", ["vector_stores", store_id, "file_batches"]:
                _known(self.stores, store_id, "vector store")
                return self._attach(store_id, await _asked(request, {"files", "file_ids"}))
            case "GET", ["vector_stores", store_id, "files"]:
                return self._files(request, store_id)
            case _:
                return await handler(request)

    # --- batches

    async def _create(self, asked: dict[str, Any]) -> web.Response:
        if self.hold is not None:
            await self.hold("before")
        file = self.house.store.file(asked["input_file_id"])
        if file.purpose != "batch" or asked["completion_window"] != "24h":
            raise ApiError(400, "Invalid value.", param="input_file_id")
        now = int(time.time())
        batch: dict[str, Any] = {
            "id": f"batch_{next(self._numbers):032x}",
            "object": "batch",
            "endpoint": asked["endpoint"],
            "errors": None,
            "input_file_id": file.id,
            "completion_window": "24h",
            "status": "validating",
            "output_file_id": None,
            "error_file_id": None,
            "created_at": now,
            "expires_at": now + 86400,
            "request_counts": {"total": 0, "completed": 0, "failed": 0},
            "metadata": asked.get("metadata"),
        }
        self.batches[batch["id"]] = batch
        self.created.append(file.id)
        under_way = sum(b["status"] in STATES[:3] for b in self.batches.values())
        self.most_under_way = max(self.most_under_way, under_way)
        if under_way > self.at_most:
            # So users of the official API tell it: the batch is made, and fails.
            message = "Enqueued token limit reached. Please try again once some are completed."
            self._fail(batch, [_error("token_limit_exceeded", None, message)])
        answer = web.json_response(batch)
        if self.hold is not None:
            await self.hold("after")
        return answer

    def _look(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Let time go by for a batch that is looked at."""
        if batch["status"] not in STATES[:3]:
            return batch
        self._looked[batch["id"]] = self._looked.get(batch["id"], 0) + 1
        if self._looked[batch["id"]] % self.looks == 0:
            batch["status"] = STATES[STATES.index(batch["status"]) + 1]
            if batch["status"] == "in_progress":
                self._validate(batch)
            elif batch["status"] == "completed":
                self._answer(batch)
        return batch

    def _requests(self, batch: dict[str, Any]) -> list[bytes]:
        content = b"".join(self.house.store.read_file(batch["input_file_id"]))
        return content.removesuffix(b"\n").split(b"\n")

    def _validate(self, batch: dict[str, Any]) -> None:
        errors, seen, models = [], set(), set()
        for number, line in enumerate(self._requests(batch), 1):
            try:
                request = json.loads(line)
            except ValueError:
                message = "This line is not parseable as valid JSON."
                errors.append(_error("invalid_json_line", number, message))
                continue
            if request["custom_id"] in seen:
                message = f"The custom_id '{request['custom_id']}' was used before."
                errors.append(_error("duplicate_custom_id", number, message))
            seen.add(request["custom_id"])
            if request["url"] != batch["endpoint"]:
                message = "The URL does not match the batch's endpoint."
                errors.append(_error("url_mismatch", number, message))
            models.add(request["body"]["model"])
            if len(models) > 1:
                errors.append(_error("model_mismatch", number, "All must name one model."))
        if errors:
            self._fail(batch, errors)

    def _fail(self, batch: dict[str, Any], errors: list[dict[str, Any]]) -> None:
        batch.update(
            status="failed",
            failed_at=int(time.time()),
            errors={"object": "list", "data": errors},
        )

    def _answer(self, batch: dict[str, Any]) -> None:
        """Leave the results as Files, in an order of the server's own."""
        requests = [json.loads(line) for line in self._requests(batch)]
        self._dice.shuffle(requests)
        fates = [(self.fate(request["custom_id"]), request) for request in requests]
        output = [_output(request) for fate, request in fates if fate == "good"]
        failures = (_failure(fate, request) for fate, request in fates if fate != "good")
        errors = [line for line in failures if line is not None]
        if any(fate in {"expired", "silent"} for fate, _ in fates):
            batch.update(status="expired", expired_at=int(time.time()))
        else:
            batch["completed_at"] = int(time.time())
        batch["output_file_id"] = self._leave(f"{batch['id']}_output.jsonl", output)
        batch["error_file_id"] = self._leave(f"{batch['id']}_error.jsonl", errors)
        batch["request_counts"] = {
            "total": len(fates),
            "completed": len(output),
            "failed": len(fates) - len(output),
        }

    def _leave(self, name: str, lines: list[dict[str, Any]]) -> str | None:
        if not lines:
            return None
        content = "".join(json.dumps(line) + "\n" for line in lines).encode()
        incoming = self.house.store.receive()
        incoming.write([memoryview(content)])
        return self.house.store.add_file(
            NewFile(filename=name, purpose="batch_output"), incoming
        ).id

    # --- vector stores

    def _new_store(self, asked: dict[str, Any]) -> web.Response:
        now = int(time.time())
        store: dict[str, Any] = {
            "id": f"vs_{next(self._numbers):032x}",
            "object": "vector_store",
            "created_at": now,
            "name": asked["name"],
            "usage_bytes": 0,
            "file_counts": _counts([]),
            "status": "completed",
            "expires_after": None,
            "expires_at": None,
            "last_active_at": now,
            "metadata": asked.get("metadata") or {},
        }
        self.stores[store["id"]] = store
        self.attached[store["id"]] = {}
        return web.json_response(store)

    def _attach(self, store_id: str, asked: dict[str, Any]) -> web.Response:
        wanted = asked.get("files") or [{"file_id": each} for each in asked.get("file_ids") or []]
        if not 0 < len(wanted) <= LOT:
            raise ApiError(400, f"A batch takes 1 to {LOT} files.", param="files")
        self.lots.append(len(wanted))
        for one in wanted:
            file = self.house.store.file(one["file_id"])
            self.attached[store_id][file.id] = {
                "id": file.id,
                "object": "vector_store.file",
                "created_at": int(time.time()),
                "vector_store_id": store_id,
                "status": "in_progress",
                "last_error": None,
                "usage_bytes": 0,
                "attributes": one.get("attributes") or {},
            }
        return web.json_response(
            {
                "id": f"vsfb_{next(self._numbers):032x}",
                "object": "vector_store.files_batch",
                "created_at": int(time.time()),
                "vector_store_id": store_id,
                "status": "in_progress",
                "file_counts": _counts(["in_progress"] * len(wanted)),
            }
        )

    def _files(self, request: web.Request, store_id: str) -> web.Response:
        _known(self.stores, store_id, "vector store")
        files = self.attached[store_id]
        wanted = request.query.get("filter")
        answer = _page(request, [f for f in files.values() if wanted in {None, f["status"]}])
        for file in files.values():  # time goes by between one look and the next
            if file["status"] == "in_progress":
                bad = self.house.store.file(file["id"]).filename in self.unsupported
                file["status"] = "failed" if bad else "completed"
                if bad:
                    message = "The file type is not supported."
                    file["last_error"] = {"code": "unsupported_file", "message": message}
        return answer


async def _asked(request: web.Request, fields: set[str]) -> dict[str, Any]:
    asked = await request.json()
    if unknown := set(asked) - fields:
        raise ApiError(400, f"Unknown parameter: '{min(unknown)}'.", param=min(unknown))
    for key, value in (asked.get("metadata") or {}).items():
        if len(key) > 64 or len(value) > 512:
            raise ApiError(400, "Metadata is too long.", param="metadata")
    return dict(asked)


def _known(things: dict[str, dict[str, Any]], wanted: str, kind: str) -> dict[str, Any]:
    if wanted not in things:
        raise ApiError(404, f"No {kind} found with id '{wanted}'.")
    return things[wanted]


def _page(request: web.Request, things: list[dict[str, Any]]) -> web.Response:
    """One page: 20 if nothing is said, 100 at most."""
    limit = int(request.query.get("limit", 20))
    if not 1 <= limit <= 100:
        raise ApiError(400, "Invalid limit.", param="limit")
    ids = [thing["id"] for thing in things]
    since = ids.index(request.query["after"]) + 1 if "after" in request.query else 0
    page = things[since : since + limit]
    return web.json_response(
        {
            "object": "list",
            "data": page,
            "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None,
            "has_more": since + limit < len(things),
        }
    )


def _error(code: str, line: int | None, message: str) -> dict[str, Any]:
    return {"code": code, "line": line, "message": message, "param": None}


def _counts(states: Iterable[str]) -> dict[str, int]:
    states = list(states)
    kinds = ("in_progress", "completed", "failed", "cancelled")
    return {**{kind: states.count(kind) for kind in kinds}, "total": len(states)}


def _output(request: dict[str, Any]) -> dict[str, Any]:
    message = {"role": "assistant", "content": f"answer to {request['custom_id']}"}
    return _line(
        request,
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": request["body"]["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        },
        200,
    )


def _failure(fate: Fate, request: dict[str, Any]) -> dict[str, Any] | None:
    if fate == "refused":
        error = {"message": "Too many tokens.", "type": "invalid_request_error", "param": None}
        return _line(request, {"error": {**error, "code": "context_length_exceeded"}}, 400)
    if fate == "silent":
        return None
    message = "This request could not be executed before the completion window expired."
    expired = {"code": "batch_expired", "message": message}
    return {**_line(request, {}, 0), "response": None, "error": expired}


def _line(request: dict[str, Any], body: dict[str, Any], status: int) -> dict[str, Any]:
    """A line of an output or error file, as the API reference has it: BatchRequestOutput."""
    response = {"status_code": status, "request_id": "req_1", "body": body}
    return {
        "id": f"batch_req_{request['custom_id']}",
        "custom_id": request["custom_id"],
        "response": response,
        "error": None,
    }


async def never() -> None:
    """Wait until the client is gone."""
    await asyncio.Event().wait()
