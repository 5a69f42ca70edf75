"""The events are those that the interface promises."""

import dataclasses
import inspect
import re

import pytest

from chunkup import events
from chunkup.events import Event, Progress

PROMISED = {
    *("job_started", "upload_created", "part_accepted", "part_retried", "paused", "late"),
    *("upload_expired", "progress", "completing", "completed", "failed", "stopped", "unknown"),
}
# Names of output lines that are about a file's content or a whole command, not about a job.
OF_THE_COMMAND = {"finding", "summary"}

KINDS = [
    kind
    for _, kind in inspect.getmembers(events, inspect.isclass)
    if issubclass(kind, Event) and kind is not Event
]


def test_the_list_of_all_is_complete_and_the_summary_is_about_no_job() -> None:
    assert set(events.EVENTS) == {*KINDS, events.Summary}
    assert len(set(events.EVENTS)) == len(events.EVENTS)
    assert not issubclass(events.Summary, Event)
    assert {snake(kind.__name__) for kind in events.EVENTS} - PROMISED <= OF_THE_COMMAND


def snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def test_the_classes_in_snake_case_are_the_names_that_programs_read() -> None:
    names = {snake(kind.__name__) for kind in KINDS}
    assert names - OF_THE_COMMAND == PROMISED


@pytest.mark.parametrize("kind", KINDS)
def test_each_event_tells_when_and_about_what_and_cannot_change(kind: type[Event]) -> None:
    fields = [field.name for field in dataclasses.fields(kind)]
    assert fields[:3] == ["time", "job", "path"]
    assert all(field.kw_only for field in dataclasses.fields(kind))
    assert kind.__dataclass_params__.frozen  # type: ignore[attr-defined]  # of every dataclass
    assert kind.__doc__
    assert not kind.__doc__.startswith(f"{kind.__name__}(")


@pytest.mark.parametrize("name", ["failed", "stopped", "unknown"])
def test_what_ends_a_run_says_why_and_how_to_go_on(name: str) -> None:
    (kind,) = (kind for kind in KINDS if snake(kind.__name__) == name)
    assert {"code", "message", "hint", "resume"} <= set(kind.__slots__)


def test_events_are_values() -> None:
    one, other = (
        Progress(
            time=1.0,
            job="k7f2m9",
            path="a.jsonl",
            size=10,
            done=4,
            sent=2,
            rate=1.5,
            in_flight=1,
            retries=0,
            expires_in=None,
        )
        for _ in range(2)
    )
    assert one == other
    assert hash(one) == hash(other)
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.done = 5  # type: ignore[misc]  # that this is refused is what is tested
