"""Which ids were there before: exactly, in memory that does not grow with their number.

The first hundred thousand are kept in a dict. Beyond that all of them go to a file, sorted into
shares by a digest. In the end each share is read back by itself, and the ids of one share are few
enough for a dict again.
"""

import hashlib
from collections.abc import Callable
from typing import Final

from chunkup.preflight.spill import BITS, SHARES, Entry, Key, Spill, ending

_KEPT: Final = 100_000
# Ids that wait in memory for their way to the file.
_PORTION: Final = 1 << 16
# Most different ids of one share in memory at once.
_MOST: Final = 150_000
# Bytes of an id that is kept as it is.
_LONG: Final = 64


class Seen:
    """Every id with the line that had it first.

    ``tell`` hears of each further line with an id: the line of the first, then line and byte
    offset of this one, and the id itself where it is short. While ids fit into memory it hears
    at once, else from :meth:`settle`. There ``halt`` is called often, and may raise.

    Raises:
        Stopped: The folder for temporary files takes no more.
    """

    def __init__(
        self,
        tell: Callable[[int, int, int, str | None], None],
        halt: Callable[[], None] = lambda: None,
        *,
        kept: int = _KEPT,
        portion: int = _PORTION,
        most: int = _MOST,
    ) -> None:
        self._tell = tell
        self._halt = halt
        self._kept, self._portion, self._most = kept, portion, most
        self._firsts: dict[Key, int] = {}
        self._waiting: list[Entry] = []
        self._spill: Spill | None = None

    def __call__(self, custom_id: str, line: int, offset: int) -> None:
        """Take the id of one more line; lines come in order."""
        key = custom_id if custom_id.isascii() and len(custom_id) <= _LONG else _key(custom_id)
        if self._spill is None:
            first = self._firsts.setdefault(key, line)
            if first != line:
                self._say(key, first, line, offset)
            elif len(self._firsts) > self._kept:
                self._spill = Spill()
                # Of those who came so far only the first of each id is in question still. Its
                # offset is not kept: nobody is told of a first one.
                self._waiting = [(key, line, 0) for key, line in self._firsts.items()]
                self._firsts = {}
        else:
            self._waiting.append((key, line, offset))
            if len(self._waiting) >= self._portion:
                self._flush(self._spill)

    def settle(self) -> None:
        """Tell of all that are not told yet; nothing can be taken after that."""
        if self._spill is None:
            return
        self._flush(self._spill)
        for share in range(SHARES):
            self._settle(self._spill, share)

    def close(self) -> None:
        """Let go of the file, if there is one."""
        if self._spill is not None:
            self._spill.close()

    def _say(self, key: Key, first: int, line: int, offset: int) -> None:
        self._tell(first, line, offset, key if isinstance(key, str) else None)

    def _flush(self, spill: Spill) -> None:
        waiting, self._waiting = self._waiting, []
        spill.add(waiting)

    def _settle(self, spill: Spill, share: int) -> None:
        # Each reading of the share cares for the ids whose digest ends in certain bits. Where
        # those turn out to be too many it goes on with half of them, and leaves the other half
        # to a further reading, in which what was told already is not told again.
        readings = [(0, 0, 0)]
        while readings:
            bits, wanted, told = readings.pop()
            firsts: dict[Key, int] = {}
            for position, (key, line, offset) in enumerate(spill.share(share, self._halt)):
                if bits and ending(key, bits) != wanted:
                    continue
                first = firsts.setdefault(key, line)
                if first != line:
                    if position >= told:
                        self._say(key, first, line, offset)
                elif len(firsts) > self._most and bits < BITS:
                    other = wanted | 1 << bits
                    bits += 1
                    # This reading may be where an earlier one has long told everything.
                    readings.append((bits, other, max(told, position + 1)))
                    firsts = {key: at for key, at in firsts.items() if ending(key, bits) == wanted}


def _key(custom_id: str) -> Key:
    content = custom_id.encode("utf-8", "surrogatepass")
    if len(content) <= _LONG and _is_text(content):
        return custom_id
    return hashlib.sha256(content).digest()


def _is_text(content: bytes) -> bool:
    """Whether it is more than halves of characters, which JSON can write and no file can hold."""
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True
