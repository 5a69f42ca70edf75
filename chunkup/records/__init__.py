"""What may stand in a file of records, and where such a file may be cut.

Pure, and told everything: lines come in blocks, in file order, and findings come back. Whoever
reads the file feeds one ``Check``::

    check = Check(purpose, limits, provider, seen=seen, check=True, split=None)
    for data in blocks:  # whole lines, at least one; only the file's last may lack its newline
        findings += check.feed(data)  # or, of a line too long to be held: check.skip(size)
    findings += check.close()
    check.lines, check.records, check.pieces

``seen(custom_id, line, offset)`` is told every ``custom_id`` of a batch in file order, and says
itself which of them are duplicates, with ``duplicate()``: exactness over millions of them takes
a disk. What can be said of a file without reading it is said by ``outside()``; whether it is
read at all, by ``has_records()``.
"""

from chunkup.records.check import Check
from chunkup.records.finding import CODES, Code, Finding, duplicate
from chunkup.records.general import has_records, outside

__all__ = ["CODES", "Check", "Code", "Finding", "duplicate", "has_records", "outside"]
