"""What a file's name, size and MIME type say, for each purpose."""

from pathlib import PurePath
from typing import Final

from chunkup.models import Limits
from chunkup.providers import MIME_TYPES, Provider
from chunkup.records.finding import Finding, shown
from chunkup.text import size_text

# Whose content is records, by what is known of the purpose.
RECORDS: Final = ("batch", "fine-tune", "evals")

_PICTURES: Final = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".gif": "image/gif",
}
# What models and file search are said to read, beside what has a MIME type in the API's table.
_READABLE: Final = {
    *MIME_TYPES,
    *_PICTURES,
    *(".csv", ".tsv", ".xls", ".xlsx", ".ppt", ".rtf", ".odt", ".xml", ".yaml", ".yml", ".toml"),
    *(".htm", ".log", ".ini", ".rst", ".rs", ".kt", ".swift", ".sql", ".r", ".eml", ".srt", ".vtt"),
}
_EXTENSIONS: Final = {
    "batch": {".jsonl"},
    "fine-tune": {".jsonl"},
    "vision": set(_PICTURES),
    "user_data": _READABLE,
    "assistants": _READABLE,
}
_TYPES: Final = {**MIME_TYPES, **_PICTURES}
# Names that stand for the same, or for nothing in particular.
_ALSO: Final = {
    ".jsonl": {
        *("application/jsonl", "application/x-jsonl", "application/jsonlines"),
        *("application/x-ndjson", "application/json"),
    },
    ".ts": {"text/typescript", "application/x-typescript"},
    ".js": {"application/javascript"},
    ".py": {"text/x-script.python"},
    ".md": {"text/x-markdown"},
}
_ANY: Final = {"application/octet-stream", "text/plain"}


def has_records(purpose: str) -> bool:
    """Whether there is something to check in a file of this purpose."""
    return purpose in RECORDS


def outside(  # noqa: PLR0913, PLR0917  (what is known of a file without reading it)
    purpose: str,
    filename: str,
    mime_type: str,
    size: int,
    limits: Limits,
    provider: Provider,
    *,
    split: bool = False,
) -> list[Finding]:
    """What can be said of a file without reading it; ``split`` is whether it will be cut."""
    return [
        *_size(purpose, size, limits, split=split),
        *_extension(purpose, filename, provider),
        *_type(filename, mime_type),
    ]


def _size(purpose: str, size: int, limits: Limits, *, split: bool) -> list[Finding]:
    if size < 1:
        return [Finding("empty_file", "there is nothing in this file")]
    most = limits.largest(purpose)
    if most is None or size <= most or split:
        return []
    said = f"this file has {size_text(size)}, more than the {size_text(most)} for {shown(purpose)}"
    return [Finding("file_too_large", said)]


def _extension(purpose: str, filename: str, provider: Provider) -> list[Finding]:
    known = _EXTENSIONS.get(purpose)
    extension = PurePath(filename).suffix.lower()
    if known is None or extension in known:
        return []
    ending = f"ends with {shown(extension)}" if extension else "has no extension"
    if known == {".jsonl"}:
        said = f"the name {ending}, and {purpose} wants .jsonl"
        # The official API said so of a batch; elsewhere nobody was seen to care.
        return [Finding("invalid_extension", said, error=bool(provider.endpoints))]
    said = f"the name {ending}, which may be of no use for {purpose}"
    return [Finding("invalid_extension", said, error=False)]


def _type(filename: str, mime_type: str) -> list[Finding]:
    extension = PurePath(filename).suffix.lower()
    right = _TYPES.get(extension)
    given = mime_type.partition(";")[0].strip().lower()
    if right is None or given in {right, *_ALSO.get(extension, ()), *_ANY}:
        return []
    said = f"the MIME type is {shown(mime_type)}, and {right} is that of {extension}"
    return [Finding("mime_type_mismatch", said, error=False)]
