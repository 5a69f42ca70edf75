"""What a test can look at: values, taken at the moment of the look."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeAlias, TypeVar

from chunkup.server.store import FileRow, PartRow, UploadRow

# Under a name of its own, because in the class below `bytes` is a number.
Content: TypeAlias = bytes

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Request:
    """One request as the server saw it.

    ``call`` is ``create part complete cancel file list retrieve content delete`` or ``other``.
    ``status`` is None before there is an answer, and for good if there is none. ``bytes``
    counts what came of the body.
    """

    method: str
    path: str
    call: str
    status: int | None
    bytes: int


@dataclass(frozen=True, slots=True)
class ServedPart:
    """A part that was received whole; ``xxh3`` is the XXH3-128 of its content, in hex."""

    id: str
    bytes: int
    xxh3: str


@dataclass(frozen=True, slots=True)
class ServedUpload:
    """An Upload as it stood; times are Unix seconds by the server's clock.

    ``status`` is ``pending completed cancelled expired``; ``parts`` are all that were received,
    in order of arrival, orphans included; ``file`` is the id of its File once it is completed.
    """

    id: str
    filename: str
    purpose: str
    bytes: int
    status: str
    created_at: int
    expires_at: int
    parts: tuple[ServedPart, ...]
    file: str | None

    @classmethod
    def of(cls, row: UploadRow, parts: list[PartRow]) -> "ServedUpload":
        """Return the view of a row and its parts."""
        return cls(
            id=row.id,
            filename=row.filename,
            purpose=row.purpose,
            bytes=row.bytes,
            status=row.status,
            created_at=row.created_at,
            expires_at=row.expires_at,
            parts=tuple(ServedPart(part.id, part.bytes, part.xxh3) for part in parts),
            file=row.file_id,
        )


@dataclass(frozen=True, slots=True)
class ServedFile:
    """A File that can be read; times are Unix seconds by the server's clock."""

    id: str
    filename: str
    purpose: str
    bytes: int
    created_at: int
    expires_at: int | None
    _read: Callable[[str], Content] = field(repr=False, compare=False)

    @classmethod
    def of(cls, row: FileRow, read: Callable[[str], Content]) -> "ServedFile":
        """Return the view of a row whose content `read` gives by its id."""
        return cls(
            id=row.id,
            filename=row.filename,
            purpose=row.purpose,
            bytes=row.bytes,
            created_at=row.created_at,
            expires_at=row.expires_at,
            _read=read,
        )

    def read(self) -> Content:
        """Return the whole content.

        Raises:
            KeyError: the File was deleted or has expired since.
        """
        return self._read(self.id)


class Shelf(Mapping[str, _Item], Generic[_Item]):
    """What the server has, by id and oldest first; each look is a new one."""

    def __init__(self, look: Callable[[], dict[str, _Item]]) -> None:
        self._look = look

    def __getitem__(self, item_id: str) -> _Item:
        return self._look()[item_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._look())

    def __len__(self) -> int:
        return len(self._look())

    def __repr__(self) -> str:
        return repr(self._look())
