"""Is it me: what can be found out about an upload that will not go, without changing a thing.

Read-only: nothing is written here, not even a lock, and the server is asked to list a File and
nothing else. Each check is looked at by itself, so that one that fails hides no other, and what
it says can be shown to anybody: where a key is from and never which, names of headers and never
their values.
"""

from chunkup.doctor.examination import Subject, examine
from chunkup.doctor.finding import Finding, State, Veil, command
from chunkup.doctor.trusting import trusting

__all__ = ["Finding", "State", "Subject", "Veil", "command", "examine", "trusting"]
