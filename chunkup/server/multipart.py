r"""multipart/form-data as it arrives: bytes in, events out, no I/O.

The grammar is RFC 7578 as browsers write it (WHATWG: raw UTF-8, `%22 %0D %0A` for the three
characters that would end a quoted string), with the two other spellings met in practice:
`\"` and `filename*=UTF-8''...`. A line of content that merely begins with the boundary is
content: only a delimiter that ends its line counts.
"""

import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from urllib.parse import unquote

MAX_BOUNDARY_BYTES = 200
MAX_HEADER_BYTES = 16 << 10
MAX_FIELDS = 16

# What may surround the form: preamble, epilogue, padding after a delimiter.
_MAX_PROSE_BYTES = 4 << 10
_MAX_PADDING_BYTES = 64

_PLAIN_ENCODINGS = ("binary", "8bit", "7bit")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_PARAMETER = re.compile(r"\s*;\s*([!#$%&'*+\-.^_`|~0-9A-Za-z]+)\s*=\s*", re.ASCII)
_UNQUOTED = re.compile(r'[^\s;"]+')
# A quoted string as browsers write it ends at the first quote, and a backslash is itself.
# Only where that leaves garbage behind was the backslash meant to escape.
_QUOTED = (re.compile(r'"([^"]*)"\s*(?=;|$)'), re.compile(r'"((?:\\.|[^"\\])*)"\s*(?=;|$)'))


class MultipartError(Exception):
    """The body is not multipart/form-data, or is beyond the bounds of this reader."""


@dataclass(frozen=True, slots=True)
class FieldStart:
    """A field begins; `filename` is None for a field that is no file."""

    name: str
    filename: str | None
    content_type: str | None


@dataclass(frozen=True, slots=True)
class FieldData:
    """Some bytes of the field that began last."""

    data: memoryview


@dataclass(frozen=True, slots=True)
class FieldEnd:
    """The field that began last is whole."""


Event = FieldStart | FieldData | FieldEnd


class _State(Enum):
    CONTENT = auto()
    HEADERS = auto()
    EPILOGUE = auto()


class MultipartParser:
    """Cuts one body into fields; feed it reads of any size, then call `finish`.

    Holds back at most a delimiter, its padding and one header block between reads.

    Raises:
        MultipartError: `boundary` is empty, too long or ends in a blank (RFC 2046).
    """

    def __init__(self, boundary: str) -> None:
        encoded = boundary.encode("utf-8", "surrogateescape")
        if not 0 < len(encoded) <= MAX_BOUNDARY_BYTES or encoded != encoded.strip():
            raise MultipartError("the boundary is empty, too long or ends in a blank")
        self._delimiter = b"\r\n--" + encoded
        # The first delimiter has no line before it: with this one all of them look alike.
        self._buffer = b"\r\n"
        self._state = _State.CONTENT
        self._in_field = False
        self._fields = 0
        self._prose = 0

    def feed(self, data: bytes) -> list[Event]:
        """Take the next bytes of the body and return what they complete.

        Raises:
            MultipartError: this can no longer become a form.
        """
        self._buffer = self._buffer + data if self._buffer else data
        return list(self._advance(final=False))

    def finish(self) -> list[Event]:
        """Say that the body ended, and return what was held back.

        Raises:
            MultipartError: the body ended before its closing delimiter.
        """
        events = list(self._advance(final=True))
        if self._state is not _State.EPILOGUE:
            raise MultipartError("the body ends before its closing boundary")
        return events

    def _advance(self, *, final: bool) -> Iterator[Event]:
        while True:
            match self._state:
                case _State.CONTENT:
                    more = yield from self._content(final=final)
                case _State.HEADERS:
                    more = yield from self._headers()
                case _State.EPILOGUE:
                    self._count_prose(len(self._buffer))
                    self._buffer = b""
                    more = False
            if not more:
                return

    def _content(self, *, final: bool) -> Generator[Event, None, bool]:
        buffer = self._buffer
        seek = 0
        while (found := buffer.find(self._delimiter, seek)) >= 0:
            line = _DelimiterLine.read(buffer, found + len(self._delimiter), final=final)
            if line.kind is _Kind.CONTENT:
                seek = found + 1
                continue
            yield from self._data(memoryview(buffer)[:found])
            if line.kind is _Kind.UNDECIDED:
                self._buffer = buffer[found:]
                return False
            if self._in_field:
                yield FieldEnd()
            self._in_field = False
            self._buffer = buffer[line.end :]
            last = line.kind is _Kind.LAST
            self._state = _State.EPILOGUE if last else _State.HEADERS
            return True
        # The end of this read may be the beginning of a delimiter.
        held = 0 if final else min(len(buffer), len(self._delimiter) - 1)
        yield from self._data(memoryview(buffer)[: len(buffer) - held])
        self._buffer = buffer[len(buffer) - held :]
        return False

    def _data(self, data: memoryview) -> Iterator[Event]:
        if not self._in_field:
            self._count_prose(len(data))
        elif data:
            yield FieldData(data)

    def _headers(self) -> Generator[Event, None, bool]:
        end = self._buffer.find(b"\r\n\r\n", 0, MAX_HEADER_BYTES + 4)
        if end < 0:
            if len(self._buffer) > MAX_HEADER_BYTES:
                raise MultipartError(f"a field has more than {MAX_HEADER_BYTES} bytes of headers")
            return False
        self._fields += 1
        if self._fields > MAX_FIELDS:
            raise MultipartError(f"there are more than {MAX_FIELDS} fields")
        yield _field_start(self._buffer[:end])
        self._in_field = True
        self._buffer = self._buffer[end + 4 :]
        self._state = _State.CONTENT
        return True

    def _count_prose(self, size: int) -> None:
        self._prose += size
        if self._prose > _MAX_PROSE_BYTES:
            raise MultipartError("there is text before or after the fields")


class _Kind(Enum):
    CONTENT = auto()
    UNDECIDED = auto()
    NEXT = auto()
    LAST = auto()


@dataclass(frozen=True, slots=True)
class _DelimiterLine:
    """What the rest of a line makes of a delimiter, and where the line ends."""

    kind: _Kind
    end: int = 0

    @classmethod
    def read(cls, buffer: bytes, begin: int, *, final: bool) -> "_DelimiterLine":
        rest = buffer[begin : begin + _MAX_PADDING_BYTES + 4]
        last = rest.startswith(b"--")
        tail = rest[2:] if last else rest
        bare = tail.lstrip(b" \t")
        kind = _Kind.LAST if last else _Kind.NEXT
        if bare.startswith(b"\r\n"):
            return cls(kind, begin + len(rest) - len(bare) + 2)
        if final:
            return cls(kind, begin + len(rest)) if last and not bare else cls(_Kind.CONTENT)
        cut = bare in (b"", b"\r") or rest == b"-"
        if cut and begin + len(rest) == len(buffer) and len(rest) < _MAX_PADDING_BYTES + 4:
            return cls(_Kind.UNDECIDED)
        return cls(_Kind.CONTENT)


def parse_header(text: str) -> tuple[str, dict[str, str]]:
    """Return the value of a header such as Content-Type, in lower case, and its parameters.

    Raises:
        MultipartError: a parameter is malformed or occurs twice.
    """
    head, _, _ = text.partition(";")
    parameters: dict[str, str] = {}
    position = len(head)
    while text[position:].strip(" \t;"):
        match = _PARAMETER.match(text, position)
        if match is None:
            raise MultipartError("a header has a malformed parameter")
        name = match[1].lower()
        if name in parameters:
            raise MultipartError("a header has a parameter twice")
        parameters[name], position = _parameter_value(text, match.end())
    return head.strip().lower(), parameters


def _parameter_value(text: str, begin: int) -> tuple[str, int]:
    browser, escaped = _QUOTED
    if match := browser.match(text, begin):
        return match[1], match.end()
    if match := escaped.match(text, begin):
        return re.sub(r"\\(.)", r"\1", match[1]), match.end()
    if match := _UNQUOTED.match(text, begin):
        return match[0], match.end()
    raise MultipartError("a header has a malformed parameter")


def _field_start(block: bytes) -> FieldStart:
    headers: dict[str, str] = {}
    for line in block.split(b"\r\n"):
        name, colon, value = _decoded(line).partition(":")
        if not colon or not _TOKEN.fullmatch(name) or re.search(r"[\r\n\0]", value):
            raise MultipartError("a field has a malformed header")
        if name.lower() in headers:
            raise MultipartError("a field has a header twice")
        headers[name.lower()] = value.strip(" \t")
    disposition, parameters = parse_header(headers.get("content-disposition", ""))
    if disposition != "form-data" or "name" not in parameters:
        raise MultipartError("a field has no Content-Disposition: form-data with a name")
    if headers.get("content-transfer-encoding", "binary").lower() not in _PLAIN_ENCODINGS:
        raise MultipartError("a field has a Content-Transfer-Encoding that changes its bytes")
    return FieldStart(
        name=_unescaped(parameters["name"]),
        filename=_filename(parameters),
        content_type=headers.get("content-type"),
    )


def _filename(parameters: dict[str, str]) -> str | None:
    extended = parameters.get("filename*")
    if extended is None:
        plain = parameters.get("filename")
        return None if plain is None else _unescaped(plain)
    charset, _, rest = extended.partition("'")
    _, quote, value = rest.partition("'")
    if not quote or charset.lower() not in ("utf-8", "iso-8859-1"):
        raise MultipartError("a field has a filename* in an unknown encoding")
    try:
        return unquote(value, charset, "strict")
    except UnicodeDecodeError as error:
        raise MultipartError("a field has a filename* that does not decode") from error


def _unescaped(text: str) -> str:
    return re.sub("%(22|0[Dd]|0[Aa])", lambda escape: chr(int(escape[1], 16)), text)


def _decoded(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MultipartError("a field has a header that is not UTF-8") from error
