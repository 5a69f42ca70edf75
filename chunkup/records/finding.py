"""What can be found in a file, by name.

Where the server has a name for it, it is the server's: those stand in ``errors.data`` of a batch
that failed. Those of a fine-tuning file are the ones of OpenAI's cookbook.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from chunkup.text import printable


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found in a file.

    Attributes:
        code: A row of ``CODES``.
        message: One sentence; what the file says in it is cut short and made printable.
        line: Which line it is in, from 1; None if it is about the whole file.
        offset: The byte of the file at which that line begins; None with ``line``.
        error: Whether the server surely refuses it; else it is worth a look.
    """

    code: str
    message: str
    line: int | None = None
    offset: int | None = None
    error: bool = True


@dataclass(frozen=True, slots=True)
class Code:
    """What one code means.

    Attributes:
        says: What is wrong, for the page that lists them all.
        error: ``error``, ``warning``, or where it is which, for the same page.
        purposes: For which purposes it is looked for; empty where for all.
        mends: What ``--fix`` does about it; empty where only a person knows.
    """

    says: str
    error: str = "error"
    purposes: tuple[str, ...] = ()
    mends: str = ""

    @property
    def mendable(self) -> bool:
        """Whether it can be mended without a loss, and without knowing what was meant."""
        return bool(self.mends)


_BATCH: Final = ("batch",)
_TUNE: Final = ("fine-tune",)
_LINES: Final = ("batch", "fine-tune", "evals")
_WARNING: Final = "warning"
_OFFICIAL: Final = "error at OpenAI, else warning"

CODES: Final[Mapping[str, Code]] = MappingProxyType(
    {
        # Any file.
        "empty_file": Code("there is no byte in the file, or no record"),
        "file_too_large": Code("the file is larger than the provider takes for its purpose"),
        "invalid_extension": Code(
            "the name does not end as the purpose wants it, such as `.jsonl` for a batch",
            "error at OpenAI for `batch` and `fine-tune`, else warning",
        ),
        "mime_type_mismatch": Code("the MIME type is none that the extension has", _WARNING),
        # Any line.
        "byte_order_mark": Code(
            "the file begins with a byte order mark, which is no JSON",
            purposes=_LINES,
            mends="leaves it away",
        ),
        "invalid_utf8": Code("the line is not UTF-8", purposes=_LINES),
        "invalid_json_line": Code(
            "the line is not JSON (`NaN` and `Infinity` are not), or no object", purposes=_LINES
        ),
        "blank_line": Code(
            "there is nothing in the line", _WARNING, _LINES, mends="leaves the line away"
        ),
        "crlf": Code(
            "lines end with CR LF; told once, of the first",
            _WARNING,
            _LINES,
            mends="leaves the CR away",
        ),
        "lone_surrogate": Code(
            r"an escape such as `\ud800` stands for half a character", _WARNING, _LINES
        ),
        "deep_nesting": Code("the line is nested too deep to be checked", _WARNING, _LINES),
        "line_too_long": Code("the line is too long to be checked", _WARNING, _LINES),
        "record_too_large": Code(
            "with `--split`: one line alone is above the limit of a file, so that no cut helps"
        ),
        # A batch.
        "too_many_tasks": Code("there are more requests than one file may have", purposes=_BATCH),
        "too_many_inputs": Code(
            "there are more inputs of embeddings than one file may have", purposes=_BATCH
        ),
        "missing_custom_id": Code(
            "`custom_id` is missing", purposes=_BATCH, mends="gives the line a new one"
        ),
        "invalid_custom_id": Code(
            "`custom_id` is not a string, or empty",
            "error; an empty one is a warning",
            _BATCH,
        ),
        "duplicate_custom_id": Code(
            "an earlier line has the same `custom_id`",
            purposes=_BATCH,
            mends="gives the later line a new one",
        ),
        "missing_required_parameter": Code(
            "`method`, `url`, `body`, `body.model`, or a field that the format of a fine-tuning "
            "example has, is missing",
            "error; a model for moderations, images and videos only a warning",
            ("batch", "fine-tune"),
        ),
        "invalid_method": Code(
            "`method` is not `POST`", "error; in small letters only at OpenAI", _BATCH
        ),
        "invalid_url": Code("`url` is none that a batch can have", _OFFICIAL, _BATCH),
        "url_mismatch": Code("`url` is not that of the first line", purposes=_BATCH),
        "invalid_request": Code(
            "`body` is not an object, or `body.model` is not a string", purposes=_BATCH
        ),
        "model_mismatch": Code("`body.model` is not that of the first line", purposes=_BATCH),
        # Fine-tuning.
        "unknown_format": Code(
            "the first example has none of the formats chat, completions, preference and "
            "reinforcement, so that only JSON is checked",
            _WARNING,
            _TUNE,
        ),
        "format_mismatch": Code("an example has another format than the first", purposes=_TUNE),
        "missing_messages_list": Code(
            "`messages` is missing, empty, or not a list of objects", purposes=_TUNE
        ),
        "message_missing_key": Code("a message has no `role`", purposes=_TUNE),
        "message_unrecognized_key": Code("a message has a key that is not known", _WARNING, _TUNE),
        "unrecognized_role": Code("a message has a `role` that is not known", _WARNING, _TUNE),
        "missing_content": Code("a message or a completion has no content", _WARNING, _TUNE),
        "example_missing_assistant_message": Code(
            "a chat has no message of the assistant to learn from", _WARNING, _TUNE
        ),
        "unexpected_last_message": Code(
            "a chat does not end with the assistant, or one for reinforcement not with the user",
            _WARNING,
            _TUNE,
        ),
        "too_few_examples": Code("there are fewer than ten examples", _WARNING, _TUNE),
    }
)


def duplicate(custom_id: str | None, line: int, offset: int, first: int) -> Finding:
    """An id that line ``first`` had before; None stands for one that is too long to be shown."""
    what = "this custom_id" if custom_id is None else f"custom_id {shown(custom_id)}"
    return Finding("duplicate_custom_id", f"{what} is on line {first} as well", line, offset)


def shown(value: object) -> str:
    """A value of the file in a sentence: a string in quotes, cut short; else its kind."""
    match value:
        case str():
            return f'"{printable(value, 60)}"'
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return "a number"
        case list():
            return "a list"
        case _:
            return "an object"
