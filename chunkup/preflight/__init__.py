"""What a file is before anything of it is sent: checked, cut, and mended if that is asked for.

Each is one ordered reading in a thread of its own, in memory that grows neither with the file nor
with the number of its records.
"""

from chunkup.preflight.mending import Mended, mend
from chunkup.preflight.report import Report, Wish
from chunkup.preflight.surveyor import survey

__all__ = ["Mended", "Report", "Wish", "mend", "survey"]
