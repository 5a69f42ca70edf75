"""What a provider really does, found out by asking it with tiny Files that are deleted again.

``questions`` is the table (from ``about_uploads`` and ``about_files``), ``words`` says what a
question is, ``uploads``, ``files`` and ``manners`` ask; ``bench`` makes things by way of ``asker``
and keeps account of what is ``left``; ``sweeping`` deletes that again; ``asking`` goes through them
all; ``keeping`` writes a profile of what was found.
"""

from chunkup.probe.asking import Course
from chunkup.probe.bench import Bench
from chunkup.probe.left import Left
from chunkup.probe.questions import QUESTIONS
from chunkup.probe.words import SKIPPED, UNCLEAR, Answered, Found, Question

__all__ = [
    "QUESTIONS",
    "SKIPPED",
    "UNCLEAR",
    "Answered",
    "Bench",
    "Course",
    "Found",
    "Left",
    "Question",
]
