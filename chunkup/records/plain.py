"""Records of which only the form is known: one object a line, as those of an evaluation."""

from collections.abc import Sequence
from typing import Final

import msgspec

from chunkup.records.finding import Finding
from chunkup.records.lines import Block, parse


class _Object(msgspec.Struct, gc=False):
    """An object of which nothing is asked."""


_OBJECT: Final = msgspec.json.Decoder(_Object)


class Plain:
    """The rules that hold for all records."""

    def block(self, block: Block) -> tuple[list[Finding], Sequence[int] | None]:
        """What is wrong in some lines."""
        findings: list[Finding] = []
        rows = block.rows(_OBJECT.decode)
        for at, row in enumerate(rows):
            if row is None:
                findings += parse(block.lines[at], block.first + at, block.start(at))[1]
        return findings, None

    def close(self) -> list[Finding]:
        """Nothing more comes."""
        return []
