"""What time it is on the server, and until when an Upload lives by that.

Our own clock may be wrong by hours, and so may the one that stamps a gateway's answers. Two
moments of one Upload, its birth and its end, are always of one clock: the one that will end it.
"""

from dataclasses import dataclass, field, replace
from typing import Final

from chunkup.models import Upload

# An Upload lives an hour or a few. What lives longer than a month, or ends before it began, is
# no moment in seconds, or belongs to a server that never meant it.
_LONGEST: Final = 30 * 86400.0
# A birth may be as much older than its answer's Date as creating the Upload may take.
_SLACK: Final = 120.0


@dataclass(slots=True)
class ServerClock:
    """The server's clock as offsets to one that only grows, ``now``; ``wall`` is our own clock."""

    _stamp: float | None = field(default=None, init=False)
    _birth: float | None = field(default=None, init=False)

    @property
    def known(self) -> bool:
        """Whether the server has told its time yet."""
        return self._stamp is not None or self._birth is not None

    def heard(self, now: float, date: float) -> None:
        """An answer was stamped with this Date."""
        self._stamp = date - now

    def at(self, now: float, wall: float) -> float:
        """Unix seconds by the server's clock; by ours until it has told its own."""
        offset = self._stamp if self._birth is None else self._birth
        return wall if offset is None else now + offset

    def born(self, now: float, wall: float, upload: Upload) -> Upload:
        """An Upload was made just now; the same one, without an end that cannot be."""
        end, birth = upload.expires_at, upload.created_at
        if end is None:
            return upload
        self._birth = None
        if birth and 0 < end - birth <= _LONGEST:
            if self._stamp is None or abs(birth - self.at(now, wall)) > _SLACK:
                self._birth = birth - now
            return upload
        sane = 0 < end - self.at(now, wall) <= _LONGEST
        return upload if sane else replace(upload, expires_at=None)
