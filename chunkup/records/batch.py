"""The lines of a batch: each one a request, with an id of its own, all for one url and model."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, Literal

import msgspec

from chunkup.providers import OPENAI, Provider
from chunkup.records.finding import Finding, shown
from chunkup.records.lines import UNUSUAL, Block, parse

# What is told every custom_id, with its line and at which byte that begins.
Seen = Callable[[str, int, int], None]

_EMBEDDINGS: Final = "/embeddings"
# Whose requests may leave the model to the server: OpenAI API reference, what each one requires.
_MODEL_OF_THEIRS: Final = ("/moderations", "/images/generations", "/images/edits", "/videos")
# Azure's way, and that of some others.
_KNOWN: Final = {*OPENAI.endpoints, *(url.removeprefix("/v1") for url in OPENAI.endpoints)}


_NOTHING: Final = msgspec.Raw()


class _Body(msgspec.Struct, gc=False):
    model: str


class _Request(msgspec.Struct, gc=False):
    custom_id: str
    method: Literal["POST"]
    url: str
    body: _Body


class _Input(msgspec.Struct, gc=False):
    model: str
    input: msgspec.Raw = _NOTHING


class _Embedding(msgspec.Struct, gc=False):
    custom_id: str
    method: Literal["POST"]
    url: str
    body: _Input


class _Loose(msgspec.Struct, gc=False):
    input: msgspec.Raw = _NOTHING


class _Asked(msgspec.Struct, gc=False):
    body: _Loose


class _Anything(msgspec.Struct, gc=False):
    """An object of which nothing is asked."""


class _Short(msgspec.Struct, gc=False):
    custom_id: str
    body: _Anything


class _Place(msgspec.Struct, gc=False):
    url: str


_Decoder = (
    msgspec.json.Decoder[_Request] | msgspec.json.Decoder[_Embedding] | msgspec.json.Decoder[_Short]
)
_REQUEST: Final = msgspec.json.Decoder(_Request)
_EMBEDDING: Final = msgspec.json.Decoder(_Embedding)
_SHORT: Final = msgspec.json.Decoder(_Short)
_PLACE: Final = msgspec.json.Decoder(_Place)
_ASKED: Final = msgspec.json.Decoder(_Asked)
_INPUTS: Final = msgspec.json.Decoder(list[msgspec.Raw])


class Batch:
    """Rules for the lines of a batch."""

    def __init__(self, provider: Provider, seen: Seen | None, inputs: int | None) -> None:
        """``inputs`` are the most embeddings that the file may ask for."""
        self._provider = provider
        self._seen = seen or (lambda _id, _line, _offset: None)
        self._most = inputs
        self._inputs = 0
        self._decoder: _Decoder | None = None if provider.requests else _SHORT
        # Those of the first line that has one.
        self._url: str | None = None
        self._model: str | None = None

    def block(self, block: Block) -> tuple[list[Finding], Sequence[int] | None]:
        """What is wrong in some lines, and how many embeddings each asks for."""
        if self._decoder is None:
            self._decoder = _decoder_for(block)
        rows: list[Any] = block.rows((self._decoder or _REQUEST).decode)
        findings: list[Finding] = []
        seen, first, texts = self._seen, block.first, block.texts
        short, url, model = self._decoder is _SHORT, self._url, self._model
        for at, row in enumerate(rows):
            if (
                row is not None
                and (short or (row.url == url and row.body.model == model))
                and row.custom_id
            ):
                seen(row.custom_id, first + at, texts[at] + at)
            else:
                findings += self._slow(block, at)
                url, model = self._url, self._model
        if self._decoder is not _EMBEDDING:
            return findings, None
        asked = [
            _count(_input(line) if row is None else row.body.input)
            for row, line in zip(rows, block.lines, strict=True)
        ]
        return findings + self._too_many(block, asked), asked

    def close(self) -> list[Finding]:
        """Nothing more comes."""
        return []

    def _too_many(self, block: Block, asked: list[int]) -> list[Finding]:
        most = self._most
        if most is None or self._inputs > most:
            return []
        for at, inputs in enumerate(asked):
            self._inputs += inputs
            if self._inputs > most:
                said = f"up to this line there are more than the {most:,} inputs of one file"
                place = block.first + at, block.start(at)
                return [Finding("too_many_inputs", said, *place)]
        return []

    def _slow(self, block: Block, at: int) -> list[Finding]:
        line, offset = block.first + at, block.start(at)
        record, findings = parse(block.lines[at], line, offset)
        if record is None:
            return findings
        return findings + [
            Finding(code, message, line, offset, error)
            for code, message, error in self._wrong(record, line, offset)
        ]

    def _wrong(self, record: dict[str, Any], line: int, offset: int) -> list[tuple[str, str, bool]]:
        found = self._wrong_id(record, line, offset)
        if self._provider.requests:
            found += self._wrong_method(record) + self._wrong_url(record)
        return found + self._wrong_body(record)

    def _wrong_id(
        self, record: dict[str, Any], line: int, offset: int
    ) -> list[tuple[str, str, bool]]:
        match record.get("custom_id"):
            case None:
                return [("missing_custom_id", "custom_id is missing", True)]
            case str(custom_id):
                self._seen(custom_id, line, offset)
                if custom_id:
                    return []
                return [("invalid_custom_id", "custom_id is empty", False)]
            case other:
                return [("invalid_custom_id", f"custom_id is {shown(other)}, not a string", True)]

    def _wrong_method(self, record: dict[str, Any]) -> list[tuple[str, str, bool]]:
        method = record.get("method")
        if method is None:
            return [_missing("method")]
        if method == "POST":
            return []
        sure = not (isinstance(method, str) and method.upper() == "POST") or self._known()
        return [("invalid_method", f'method is {shown(method)}, not "POST"', sure)]

    def _wrong_url(self, record: dict[str, Any]) -> list[tuple[str, str, bool]]:
        url = record.get("url")
        if url is None:
            return [_missing("url")]
        if not isinstance(url, str):
            return [("invalid_url", f"url is {shown(url)}, not a string", True)]
        if self._known() and url not in self._provider.endpoints:
            those = ", ".join(self._provider.endpoints)
            return [("invalid_url", f"url is {shown(url)}, and a batch takes {those}", True)]
        first, self._url = self._url, self._url or url
        if first is None:
            if url in _KNOWN:
                return []
            return [("invalid_url", f"url is {shown(url)}, which may be none for batches", False)]
        if url != first:
            said = f"url is {shown(url)}, and {shown(first)} on the lines before"
            return [("url_mismatch", said, True)]
        return []

    def _wrong_body(self, record: dict[str, Any]) -> list[tuple[str, str, bool]]:
        body = record.get("body")
        if body is None:
            return [_missing("body")]
        if not isinstance(body, dict):
            return [("invalid_request", f"body is {shown(body)}, not an object", True)]
        if not self._provider.requests:
            return []
        model = body.get("model")
        if model is None:
            sure = not str(record.get("url")).endswith(_MODEL_OF_THEIRS)
            return [("missing_required_parameter", "body.model is missing", sure)]
        if not isinstance(model, str):
            return [("invalid_request", f"body.model is {shown(model)}, not a string", True)]
        first, self._model = self._model, self._model if self._model is not None else model
        if first is not None and model != first:
            said = f"model is {shown(model)}, and {shown(first)} on the lines before"
            return [("model_mismatch", said, True)]
        return []

    def _known(self) -> bool:
        """Whether it is known exactly what this provider takes."""
        return bool(self._provider.endpoints)


def _decoder_for(block: Block) -> _Decoder | None:
    """The one for the file's url, where a line has one; None where no line does yet."""
    for line in block.lines:
        with suppress(*UNUSUAL):
            embeddings = _PLACE.decode(line).url.endswith(_EMBEDDINGS)
            return _EMBEDDING if embeddings else _REQUEST
    return None


def _missing(name: str) -> tuple[str, str, bool]:
    return ("missing_required_parameter", f"{name} is missing", True)


def _input(line: bytes) -> msgspec.Raw:
    """What a line asks for that has something unusual, but may be sent all the same."""
    try:
        return _ASKED.decode(line).body.input
    except UNUSUAL:
        return _NOTHING


def _count(given: msgspec.Raw) -> int:
    """How many embeddings an ``input`` asks for: a string and a list of tokens are one."""
    raw = bytes(given).strip()
    if not raw.startswith(b"["):
        return 1 if raw else 0
    items = _INPUTS.decode(raw)
    if items and bytes(items[0]).strip()[:1] in b'"[':
        return len(items)
    return 1
