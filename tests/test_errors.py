"""The tree that is drawn is the tree that is coded."""

import copy
import pickle
import re
from collections.abc import Iterator

import pytest

from chunkup import errors
from chunkup.errors import Busy, ChunkupError, Interrupted, OutcomeUnknown, Unreachable
from chunkup.models import Answer


def family(kind: type[ChunkupError]) -> Iterator[type[ChunkupError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from family(child)


ALL = [kind for kind in family(ChunkupError) if kind.__module__ == "chunkup.errors"]
EXIT_CODES = {
    "Refused": 2,
    "Failed": 1,
    "Busy": 3,
    "OutcomeUnknown": 4,
    "Stopped": 75,
    "Interrupted": 130,
}


def drawn() -> dict[str, tuple[str, int | None]]:
    """Each name of the drawing with its parent and the exit code beside it."""
    tree: dict[str, tuple[str, int | None]] = {}
    path = ["ChunkupError"]
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"^ {4}([│ ]*)[├└]── (\w+(?:, \w+)*)(?: \((\d+)\))?", line)
        if match is None:
            continue
        depth = len(match[1]) // 4 + 1
        for name in match[2].split(", "):
            tree[name] = (path[depth - 1], int(match[3]) if match[3] else None)
        path[depth:] = [match[2]]
    return tree


def test_the_drawn_tree_is_the_class_tree() -> None:
    coded = {kind.__name__: kind.__bases__[0].__name__ for kind in ALL if kind is not ChunkupError}
    assert {name: parent for name, (parent, _) in drawn().items()} == coded


def test_the_drawn_exit_codes_are_those_of_the_command() -> None:
    assert {name: code for name, (_, code) in drawn().items() if code is not None} == EXIT_CODES


@pytest.mark.parametrize("kind", [kind for kind in ALL if kind is not ChunkupError])
def test_each_class_ends_a_command_as_its_branch_does(kind: type[ChunkupError]) -> None:
    branch = next(parent for parent in kind.__mro__ if parent.__name__ in EXIT_CODES)
    assert kind("what happened").exit_code == EXIT_CODES[branch.__name__]


@pytest.mark.parametrize("kind", ALL)
def test_each_class_says_what_it_is(kind: type[ChunkupError]) -> None:
    assert kind.__doc__
    assert "code" in vars(kind)
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", kind.code)


def test_codes_are_unique() -> None:
    assert len({kind.code for kind in ALL}) == len(ALL) > 25


@pytest.mark.parametrize(("signal", "code"), [(1, 129), (2, 130), (15, 143)])
def test_a_signal_ends_a_command_as_shells_expect(signal: int, code: int) -> None:
    assert Interrupted("asked to stop", signal=signal).exit_code == code


def test_an_error_carries_what_a_person_needs() -> None:
    answer = Answer(500, "oops", request_id="req_1")
    error = errors.ServerTrouble("it failed", hint="wait", job_id="k7f2m9", answer=answer)
    assert (str(error), error.message) == ("it failed", "it failed")
    assert (error.hint, error.job_id, error.request_id) == ("wait", "k7f2m9", "req_1")
    assert not error.retryable
    assert ChunkupError("plain").request_id is None


def test_an_unknown_outcome_names_its_candidates() -> None:
    assert OutcomeUnknown("which?", candidates=("file-1", "file-2")).candidates == (
        "file-1",
        "file-2",
    )
    assert OutcomeUnknown("none").candidates == ()


@pytest.mark.parametrize("sent", [True, False])
def test_a_broken_connection_may_be_tried_again_and_knows_if_it_was_made(*, sent: bool) -> None:
    error = Unreachable("gone", sent=sent)
    assert error.retryable
    assert error.sent is sent


@pytest.mark.parametrize("kind", ALL)
def test_errors_cross_process_borders_whole(kind: type[ChunkupError]) -> None:
    error = kind("what happened", hint="do this")
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is kind
        assert str(twin) == str(error)
        assert vars(twin) == vars(error)


def test_a_busy_job_may_be_caught_as_ours() -> None:
    with pytest.raises(ChunkupError):
        raise Busy("held", job_id="k7f2m9")
