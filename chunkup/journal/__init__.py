"""The journal: the only memory that an upload has.

The API cannot be asked what it holds, so what is not on this disk is lost. One SQLite file,
one mode everywhere (TRUNCATE, ``synchronous=EXTRA``): slower than WAL by under a millisecond
a commit, durable against power loss, and one file to copy. Facts are what
:mod:`chunkup.machine` folds; notes (``runs``) answer questions of people and are never read
by the machine.
"""

from chunkup.journal.claims import Holder, busy
from chunkup.journal.journal import Journal, default_path
from chunkup.journal.listing import JobLine, RunNote
from chunkup.journal.reuse import Kept
from chunkup.journal.sets import Adopted, Arrived, Habits, Standing

__all__ = [
    "Adopted",
    "Arrived",
    "Habits",
    "Holder",
    "JobLine",
    "Journal",
    "Kept",
    "RunNote",
    "Standing",
    "busy",
    "default_path",
]
