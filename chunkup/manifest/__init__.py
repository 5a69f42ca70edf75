"""The manifest: which File each file became, as JSON Lines for the programs that come after.

One line a File. It is on the disk whole or not at all, names no secret, and belongs to whoever
asked for it: the journal is the memory, this is the receipt.
"""

from chunkup.manifest.entry import VERSION, Attempts, Entry, Key, entry_of, line_of, schema
from chunkup.manifest.keeping import Manifest
from chunkup.manifest.sheet import read

__all__ = [
    "VERSION",
    "Attempts",
    "Entry",
    "Key",
    "Manifest",
    "entry_of",
    "line_of",
    "read",
    "schema",
]
