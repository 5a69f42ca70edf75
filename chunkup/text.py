"""How values are written for people, and read back from them.

Sizes: ``64MiB`` is 2^20 based, ``200MB`` is 10^6 based. Durations: ``90``, ``90s``, ``2h``,
``30d``. Rates: ``5MB/s``, ``40Mbit/s``. What comes from a server is made harmless here before
anybody prints it.
"""

import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Final

_UNITS: Final = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
    "tib": 1 << 40,
}
_SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
# Bytes and bits a second. A bare "5MB" is no rate: whoever writes it may think of a size.
_RATES: Final[dict[str, int | Decimal]] = {"": 1, "bit/s": Decimal(1) / 8}
_RATES.update({f"{unit}/s": factor for unit, factor in _UNITS.items() if unit})
_RATES.update(
    {f"{unit[:-1]}bit/s": Decimal(factor) / 8 for unit, factor in _UNITS.items() if len(unit) > 1}
)
_QUANTITY: Final = re.compile(r"(\d{1,18}(?:\.\d{1,9})?)\s*([a-z/]*)", re.IGNORECASE | re.ASCII)


def parse_size(text: str) -> int:
    """Bytes of ``64MiB``, ``200 MB``, ``1.5GB``, ``4096``.

    Raises:
        ValueError: It is no size, or not a whole number of bytes.
    """
    number = _parse(text, _UNITS, "a size such as 64MiB or 200MB")
    if number != int(number):
        raise ValueError(f"{text!r} is not a whole number of bytes")
    return int(number)


def parse_duration(text: str) -> float:
    """Seconds of ``90``, ``90s``, ``5m``, ``2h``, ``30d``.

    Raises:
        ValueError: It is no duration.
    """
    return float(_parse(text, _SECONDS, "a duration such as 90s, 5m, 2h or 30d"))


def parse_rate(text: str) -> float:
    """Bytes a second of ``5MB/s``, ``1MiB/s``, ``40Mbit/s``, ``500 kbit/s``, ``250000``.

    Raises:
        ValueError: It is no rate, or a small ``b`` leaves open whether bits or bytes are meant.
    """
    if text.strip().endswith("b/s"):
        raise ValueError(f"{text!r} may mean bits or bytes: write it like 5MB/s or 40Mbit/s")
    return float(_parse(text, _RATES, "a rate such as 5MB/s or 40Mbit/s"))


def _parse(text: str, units: Mapping[str, int | Decimal], wanted: str) -> Decimal:
    match = _QUANTITY.fullmatch(text.strip())
    factor = units.get(match[2].lower()) if match else None
    if match is None or factor is None:
        raise ValueError(f"{text!r} is not {wanted}")
    return Decimal(match[1]) * factor


def size_text(size: float) -> str:
    """A size in decimal units, one digit: ``1 byte``, ``67.1 MB``, ``200 MB``, ``6.2 GB``."""
    if size < 999.5:
        number = f"{size:.0f}"
        return "1 byte" if number == "1" else f"{number} bytes"
    for unit, factor in (("kB", 10**3), ("MB", 10**6), ("GB", 10**9), ("TB", 10**12)):
        number = f"{size / factor:.1f}".removesuffix(".0")
        # 999,960 is not 1000 kB but 1 MB.
        if float(number) < 1000 or unit == "TB":
            break
    return f"{number} {unit}"


def duration_text(seconds: float) -> str:
    """A duration in its two largest units: ``8 s``, ``5 min 10 s``, ``2 h 3 min``, ``4 d 1 h``.

    What has no end is ``for ever``, and what nobody can know ``an unknown time``.
    """
    if math.isnan(seconds):
        return "an unknown time"
    if seconds == math.inf:
        return "for ever"
    if seconds < 0:
        return "0 s"
    whole = round(seconds)
    steps = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    for index, (unit, length) in enumerate(steps):
        if whole >= length:
            text = f"{whole // length} {unit}"
            rest = whole % length
            if index + 1 < len(steps) and (small := rest // steps[index + 1][1]):
                text += f" {small} {steps[index + 1][0]}"
            return text
    return "0 s"


def printable(text: str, limit: int = 300) -> str:
    r"""What somebody else wrote, safe on a terminal and on one line.

    Control characters, line ends, and characters that turn the writing direction become
    ``\x1b``-style escapes; more than ``limit`` characters are cut.
    """
    if len(text) <= limit and text.isprintable():
        return text
    safe = "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text[: limit + 1]
    )
    return safe if len(safe) <= limit else safe[:limit] + "…"
