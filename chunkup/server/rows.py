"""The values of the server: what is stored, what was asked for, what is accepted at most."""

from dataclasses import dataclass
from typing import Literal

UploadStatus = Literal["pending", "completed", "cancelled", "expired"]

Orphans = Literal["ignore", "count", "refuse"]
"""What becomes of parts that nobody lists, such as one whose answer was lost.

The official API is believed to ignore them. Others count them, and refuse a part that takes all
that is stored beyond the declared bytes, or refuse to complete while there are any.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """What the server accepts at most, in bytes; the defaults are the documented ones.

    The documentation says 64 MB, 8 GB and 512 MB. The official SDK sends parts of 64 MiB, so
    the larger reading holds for all three. `json_bytes` bounds every JSON body; the ids of
    100,000 parts fit.
    """

    part_bytes: int = 64 << 20
    upload_bytes: int = 8 << 30
    file_bytes: int = 512 << 20
    json_bytes: int = 4 << 20


DEFAULT_LIMITS = ServerLimits()


@dataclass(frozen=True, slots=True)
class UploadRow:
    """An upload as it stands; times are Unix seconds, `file_seconds` the life of its file."""

    id: str
    filename: str
    bytes: int
    mime_type: str
    purpose: str
    created_at: int
    expires_at: int
    file_seconds: int | None
    status: UploadStatus
    file_id: str | None


@dataclass(frozen=True, slots=True)
class PartRow:
    """A part that was received whole; `xxh3` is the XXH3-128 of its content, in hex."""

    id: str
    upload_id: str
    bytes: int
    xxh3: str
    created_at: int


@dataclass(frozen=True, slots=True)
class FileRow:
    """A file that can be listed and read; `expires_at` is None when it lives on."""

    id: str
    bytes: int
    filename: str
    purpose: str
    created_at: int
    expires_at: int | None


@dataclass(frozen=True, slots=True)
class FilePage:
    """One page of the list of files."""

    files: tuple[FileRow, ...]
    has_more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NewUpload:
    """What a client asks for when it creates an upload."""

    filename: str
    bytes: int
    mime_type: str
    purpose: str
    file_seconds: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFile:
    """What a client says about a file that it sends in one request."""

    filename: str
    purpose: str
    file_seconds: int | None = None
