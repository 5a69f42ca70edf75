"""Events on their way out: to a listener that cannot break the upload, and to the log."""

import logging
from typing import Any

import pytest
from strategies import plain_job

from chunkup import events
from chunkup.errors import (
    Busy,
    ChunkupError,
    OutcomeUnknown,
    Rejected,
    SourceChanged,
    Unreachable,
)
from chunkup.listener import careful, tell_end, tell_outdated, tell_reused, tell_stop
from chunkup.models import RemoteFile

HERE: dict[str, Any] = {"time": 0.0, "job": "k7f2m9", "path": "/data/train.jsonl"}
END: dict[str, Any] = {"code": "rejected", "message": "no more", "hint": None, "resume": None}
FILE = RemoteFile("file-1", 1000, 0, "train.jsonl", "batch")


def test_a_listener_that_raises_is_said_once_and_not_called_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    heard: list[events.Event] = []

    def listen(event: events.Event) -> None:
        heard.append(event)
        raise RuntimeError("not today")

    emit = careful(listen)
    for _ in range(3):
        emit(events.Completing(**HERE, md5=None))
    assert len(heard) == 1
    assert caplog.text.count("on_event raised and is not called again") == 1


@pytest.mark.parametrize(
    ("event", "level", "said"),
    [
        (events.Paused(**HERE, wait=2.5, message="slow down"), "WARNING", "2.5 s: slow down"),
        (events.Late(**HERE, seconds=float("inf"), rate=0.0), "WARNING", "at 0 bytes/s"),
        (
            events.UploadExpired(**HERE, upload_id="upload_1", reason="expired", lost=1),
            "WARNING",
            "upload_1 is over: expired",
        ),
        (events.Completed(**HERE, file=FILE, recovered=False), "INFO", "completed as file-1"),
        (events.Failed(**HERE, **END), "INFO", "ended: rejected no more"),
        (events.Unknown(**HERE, **END, candidates=()), "INFO", "ended: rejected no more"),
        (events.Stopped(**HERE, **END), "INFO", "stopped: rejected no more"),
    ],
)
def test_what_is_worth_it_is_in_the_log_with_its_job(
    caplog: pytest.LogCaptureFixture, event: events.Event, level: str, said: str
) -> None:
    caplog.set_level(logging.DEBUG, "chunkup")
    careful(None)(event)
    (record,) = caplog.records
    assert record.levelname == level
    assert record.getMessage().startswith("k7f2m9: ")
    assert said in record.getMessage()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (Rejected("no"), events.Failed),
        (SourceChanged("other content"), events.Failed),
        (Unreachable("gone"), events.Stopped),
        (Busy("held"), events.Stopped),
        (OutcomeUnknown("which?", candidates=("file-1", "file-2")), events.Unknown),
    ],
)
def test_an_error_ends_a_run_in_the_event_of_its_kind(
    error: ChunkupError, kind: type[events.Failed | events.Stopped | events.Unknown]
) -> None:
    told: list[events.Event] = []
    job = plain_job()
    tell_end(job, error, told.append)
    (event,) = told
    assert type(event) is kind
    assert isinstance(event, events.Failed | events.Stopped | events.Unknown)
    assert (event.code, event.message, event.path) == (error.code, error.message, job.path)
    assert event.resume == f"chunkup resume {job.id}"
    if isinstance(event, events.Unknown):
        assert event.candidates == ("file-1", "file-2")


def test_an_interruption_a_reuse_and_a_change_are_told() -> None:
    told: list[events.Event] = []
    job = plain_job()
    tell_stop(job, told.append)
    tell_reused(job, FILE, told.append)
    tell_outdated(job, 700, told.append)
    stopped, reused, outdated = told
    assert isinstance(stopped, events.Stopped)
    assert stopped.code == "interrupted"
    assert isinstance(reused, events.Completed)
    assert reused.reused
    assert reused.file == FILE
    assert isinstance(outdated, events.UploadExpired)
    assert (outdated.lost, outdated.reason) == (700, "the file changed since")
