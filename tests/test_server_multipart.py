"""The embedded server's multipart parser: any content, any boundary, any cut into reads."""

from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chunkup.server import multipart
from chunkup.server.multipart import (
    FieldData,
    FieldEnd,
    FieldStart,
    MultipartError,
    MultipartParser,
    parse_header,
)

BOUNDARY = "b"


def parse(body: bytes, *, boundary: str = BOUNDARY, size: int = 1 << 20) -> dict[str, bytes]:
    """Return the contents by field name, fed `size` bytes at a time."""
    cuts = range(size, len(body), size)
    return assemble(body, list(cuts), boundary)


def assemble(body: bytes, cuts: list[int], boundary: str = BOUNDARY) -> dict[str, bytes]:
    parser = MultipartParser(boundary)
    fields: dict[str, bytes] = {}
    name = None
    begin = 0
    events = []
    for end in [*sorted(cuts), len(body)]:
        events += parser.feed(body[begin:end])
        begin = end
    events += parser.finish()
    for event in events:
        match event:
            case FieldStart():
                assert name is None
                name = event.name
                assert name not in fields
                fields[name] = b""
            case FieldData(data):
                assert name is not None
                fields[name] += data
            case FieldEnd():
                assert name is not None
                name = None
    assert name is None
    return fields


def feed(parser: MultipartParser, body: bytes, size: int) -> None:
    for begin in range(0, len(body), size):
        parser.feed(body[begin : begin + size])


def field(content: bytes, disposition: str = 'form-data; name="data"') -> bytes:
    return b"Content-Disposition: " + disposition.encode() + b"\r\n\r\n" + content


def form(*fields: bytes, boundary: bytes = b"b") -> bytes:
    delimiter = b"\r\n--" + boundary
    return delimiter[2:] + b"".join(b"\r\n" + text + delimiter for text in fields) + b"--\r\n"


def start_of(disposition: str, *more: str) -> FieldStart:
    headers = "\r\n".join([f"Content-Disposition: {disposition}", *more])
    parser = MultipartParser(BOUNDARY)
    event = parser.feed(f"--b\r\n{headers}\r\n\r\n".encode())[0]
    assert isinstance(event, FieldStart)
    return event


# Letters of the delimiter in any order: what is almost a delimiter comes up all the time.
almost = st.lists(
    st.sampled_from([b"\r\n--b", b"\r\n--", b"--b", b"\r", b"\n", b"-", b"b", b"--", b" ", b"x"])
).map(b"".join)


def is_content(content: bytes) -> bool:
    """Say whether no line of `content` is a delimiter by the grammar, read naively."""
    *lines, last = (b"\r\n" + content).split(b"\r\n")
    for line in lines:
        if line.startswith(b"--b") and line[3:].removeprefix(b"--").strip(b" \t") == b"":
            return False
    # The last line goes on with the real delimiter's CRLF.
    return not (last.startswith(b"--b") and last[3:].removeprefix(b"--").strip(b" \t") == b"")


@given(content=(almost | st.binary()).filter(is_content), data=st.data())
@example(content=b"\r\n--bx\r\n--b-", data=None)
def test_any_content_survives_any_cut(content: bytes, data: st.DataObject | None) -> None:
    body = form(field(content), field(b"after", 'form-data; name="z"'))
    cuts = list(range(len(body)))
    if data is not None:
        cuts = data.draw(st.lists(st.integers(0, len(body))))
    assert assemble(body, cuts) == {"data": content, "z": b"after"}


@given(
    boundary=st.text("0123456789abcXYZ'()+_,-./:=? ", min_size=1, max_size=70).filter(
        lambda text: text == text.strip()
    ),
    size=st.integers(1, 40),
)
def test_any_boundary_will_do(boundary: str, size: int) -> None:
    encoded = boundary.encode()
    content = b"\r\n--" + encoded[:-1] + b"\r\n" + encoded + b"\r\n--" + encoded + b"!"
    if f"\r\n--{boundary}" in f"\r\n--{boundary[:-1]}\r\n":
        content = b"plain"
    assert parse(form(field(content), boundary=encoded), boundary=boundary, size=size) == {
        "data": content
    }


@given(body=st.binary() | almost.map(lambda text: b"--b\r\n" + field(text) + b"\r\n--b"))
def test_whatever_comes_is_a_form_or_refused(body: bytes) -> None:
    with suppress(MultipartError):
        assemble(body, list(range(len(body))))


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.parametrize(
    "body",
    [
        b"preamble\r\n" + form(field(b"x")),
        form(field(b"x")) + b"epilogue",
        form(field(b"x"))[:-2],
        b"--b \t\r\n" + field(b"x") + b"\r\n--b-- \t\r\n",
    ],
    ids=["preamble", "epilogue", "no last line end", "padding"],
)
def test_what_the_standard_allows_around_fields_is_allowed(body: bytes, size: int) -> None:
    assert parse(body, size=size) == {"data": b"x"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no form at all",
        form(field(b"x"))[:-5],
        b"--b\r\n" + field(b"x"),
        b"--b\r\nContent-Disposition: form-data; name=data\r\n",
        form(b"\r\nno headers"),
        form(b"Content-Type: text/plain\r\n\r\nx"),
        form(field(b"x", "attachment; name=data")),
        form(field(b"x", "form-data")),
        form(b"Content-Disposition form-data\r\n\r\nx"),
        form(b"Content-Disposition: form-data; name=a\r\n folded: b\r\n\r\nx"),
        form(b"Content-Disposition: form-data; name=a\nX: y\r\n\r\nx"),
        form(b"Content-Disposition: form-data; name=\xff\r\n\r\nx"),
        form(b"X: 1\r\nx: 2\r\n" + field(b"x")),
        form(b"Content-Transfer-Encoding: base64\r\n" + field(b"x")),
    ],
)
def test_what_is_no_form_is_refused(body: bytes) -> None:
    with pytest.raises(MultipartError):
        parse(body)


@pytest.mark.parametrize(
    "body",
    [
        b"--b\r\nX: " + b"x" * multipart.MAX_HEADER_BYTES,
        form(*(field(b"", f"form-data; name={n}") for n in range(multipart.MAX_FIELDS + 1))),
        b"x" * 10_000,
        form(field(b"x")) + b"x" * 10_000,
    ],
    ids=["headers", "fields", "preamble", "epilogue"],
)
@pytest.mark.parametrize("size", [997, 1 << 20])
def test_what_is_held_in_memory_is_bounded(body: bytes, size: int) -> None:
    # Without `finish`: the refusal must come while bytes still do.
    with pytest.raises(MultipartError):
        feed(MultipartParser(BOUNDARY), body, size)


def test_content_is_passed_on_as_it_comes() -> None:
    parser = MultipartParser(BOUNDARY)
    parser.feed(b"--b\r\n" + field(b""))
    for _ in range(10):
        (event,) = parser.feed(b"x" * 1000)
        assert isinstance(event, FieldData)
        assert len(event.data) > 990
    assert len(parser._buffer) < 10


@pytest.mark.parametrize("boundary", ["", " ", "b ", " b", "b" * 201])
def test_an_impossible_boundary_is_refused(boundary: str) -> None:
    with pytest.raises(MultipartError):
        MultipartParser(boundary)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ('filename="a.jsonl"', "a.jsonl"),
        ("filename=a.jsonl", "a.jsonl"),
        ('filename=""', ""),
        ('filename="你好 é.txt"', "你好 é.txt"),
        ('filename="a%22b%0D%0Ac%0a.txt"', 'a"b\r\nc\n.txt'),
        ('filename="100%25.txt"', "100%25.txt"),
        (r'filename="a\"b.txt"', 'a"b.txt'),
        (r'filename="a\b.txt"', r"a\b.txt"),
        ('filename="a\\"', "a\\"),
        ('filename="a\\"; x=y', "a\\"),
        ('filename="a;b=c.txt"', "a;b=c.txt"),
        ("filename*=UTF-8''%E4%BD%A0%20%22.txt", '你 ".txt'),
        ("filename*=utf-8'en'a.txt", "a.txt"),
        ("filename*=iso-8859-1''%E9.txt", "é.txt"),
        ("filename=\"plain\"; filename*=UTF-8''%C3%A9", "é"),
        ("filename*=UTF-8''%C3%A9; filename=\"plain\"", "é"),
        ('FileName = "a" ;', "a"),
        ('filename="../../etc/passwd"', "../../etc/passwd"),
    ],
)
def test_every_spelling_of_a_filename_is_understood(written: str, meant: str) -> None:
    start = start_of(f'form-data; name="data"; {written}', "Content-Type: text/plain")
    assert start == FieldStart("data", meant, "text/plain")


@given(
    name=st.text(
        st.characters(codec="utf-8", exclude_characters="\0\v\f\x1c\x1d\x1e\x85\u2028\u2029")
    )
)
def test_a_filename_as_browsers_write_it_comes_back(name: str) -> None:
    name = name.replace("%", "")
    written = name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
    assert start_of(f'form-data; name="data"; filename="{written}"').filename == name


@pytest.mark.parametrize(
    "written",
    [
        "filename*=UTF-8''%FF",
        "filename*=klingon''a",
        "filename*=a",
        'filename="a',
        'filename="a"b',
        "filename=a; filename=b",
        "filename",
        "=a",
    ],
)
def test_a_filename_that_says_nothing_clear_is_refused(written: str) -> None:
    with pytest.raises(MultipartError):
        start_of(f'form-data; name="data"; {written}')


def test_a_field_without_filename_is_no_file() -> None:
    assert start_of('form-data; name="expires_after[seconds]"') == FieldStart(
        "expires_after[seconds]", None, None
    )


def test_a_header_value_is_read_with_its_parameters() -> None:
    assert parse_header('Multipart/Form-Data; boundary="a;b" ; charset=utf-8') == (
        "multipart/form-data",
        {"boundary": "a;b", "charset": "utf-8"},
    )
