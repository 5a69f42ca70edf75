"""Resumable, parallel uploads to OpenAI-compatible Files and Uploads APIs.

    import chunkup

    file = chunkup.upload("train.jsonl", purpose="user_data")

Everything public is named in ``__all__`` and loaded when it is first touched, so that
importing this package costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chunkup.blocking import Run, Uploader, resume, upload
    from chunkup.dataset import Result
    from chunkup.errors import (
        BadContent,
        Busy,
        ChunkupError,
        Failed,
        Interrupted,
        OutcomeUnknown,
        Refused,
        SourceChanged,
        Stopped,
    )
    from chunkup.handles import AsyncRun
    from chunkup.models import JobInfo, Limits, Options, RemoteFile, Split, Upload
    from chunkup.uploader import AsyncUploader
    from chunkup.verifying import Verified

__version__ = "0.1.0"

_HOMES = {
    "AsyncRun": "chunkup.handles",
    "AsyncUploader": "chunkup.uploader",
    "BadContent": "chunkup.errors",
    "Busy": "chunkup.errors",
    "ChunkupError": "chunkup.errors",
    "Failed": "chunkup.errors",
    "Interrupted": "chunkup.errors",
    "JobInfo": "chunkup.models",
    "Limits": "chunkup.models",
    "Options": "chunkup.models",
    "OutcomeUnknown": "chunkup.errors",
    "Refused": "chunkup.errors",
    "RemoteFile": "chunkup.models",
    "Result": "chunkup.dataset",
    "Run": "chunkup.blocking",
    "SourceChanged": "chunkup.errors",
    "Split": "chunkup.models",
    "Stopped": "chunkup.errors",
    "Upload": "chunkup.models",
    "Uploader": "chunkup.blocking",
    "Verified": "chunkup.verifying",
    "resume": "chunkup.blocking",
    "upload": "chunkup.blocking",
}

__all__ = [
    "AsyncRun",
    "AsyncUploader",
    "BadContent",
    "Busy",
    "ChunkupError",
    "Failed",
    "Interrupted",
    "JobInfo",
    "Limits",
    "Options",
    "OutcomeUnknown",
    "Refused",
    "RemoteFile",
    "Result",
    "Run",
    "SourceChanged",
    "Split",
    "Stopped",
    "Upload",
    "Uploader",
    "Verified",
    "resume",
    "upload",
]


if not TYPE_CHECKING:
    # Type checkers know the names from above, and would believe any other from this.
    def __getattr__(name: str) -> Any:
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(home), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
