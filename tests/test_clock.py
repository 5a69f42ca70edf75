"""The server's time: by its stamps, or by an Upload's own moments where those disagree."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkup.clock import ServerClock
from chunkup.models import Upload

HOUR = 3600
# Our wall clock, the one that only grows, and what the server's clock really shows.
WALL, NOW, TRUE = 5_000_000.0, 100.0, 1_800_000_000


def upload(birth: int, end: int | None) -> Upload:
    return Upload("upload_1", birth, end)


def told(stamp: float | None, made: Upload | None = None) -> tuple[ServerClock, Upload | None]:
    clock = ServerClock()
    if stamp is not None:
        clock.heard(NOW, stamp)
    return clock, clock.born(NOW, WALL, made) if made else None


def test_before_the_server_has_told_its_time_there_is_only_ours() -> None:
    clock, _ = told(None)
    assert not clock.known
    assert clock.at(NOW, WALL) == WALL


def test_a_stamp_is_the_servers_time_and_a_later_one_goes_before() -> None:
    clock, _ = told(TRUE)
    assert clock.known
    assert clock.at(NOW + 5, WALL) == TRUE + 5
    clock.heard(NOW + 5, TRUE + 60)
    assert clock.at(NOW + 6, WALL) == TRUE + 61


@pytest.mark.parametrize("stamp", [None, TRUE - 5 * HOUR, TRUE + 5 * HOUR])
def test_the_moments_of_an_upload_outweigh_a_stamp_that_is_missing_or_wrong(
    stamp: float | None,
) -> None:
    clock, made = told(stamp, upload(TRUE, TRUE + HOUR))
    assert made == upload(TRUE, TRUE + HOUR)
    assert clock.known
    clock.heard(NOW + 9, (stamp or 7) + 9)
    assert clock.at(NOW + 10, WALL) == TRUE + 10


def test_an_upload_tells_the_time_where_no_answer_is_stamped_though_ours_is_right() -> None:
    clock = ServerClock()
    clock.born(NOW, TRUE, upload(TRUE, TRUE + HOUR))
    assert clock.known
    assert clock.at(NOW + 9, TRUE + 5 * HOUR) == TRUE + 9  # ours was set meanwhile


@pytest.mark.parametrize("slow", [0, 1, 119])
def test_a_stamp_that_agrees_goes_on_telling_the_time(slow: int) -> None:
    """A server may need a while to make an Upload, and stamps its answer after that."""
    clock, _ = told(TRUE + slow, upload(TRUE, TRUE + HOUR))
    assert clock.at(NOW, WALL) == TRUE + slow
    clock.heard(NOW + 1, TRUE + 30)
    assert clock.at(NOW + 1, WALL) == TRUE + 30


@pytest.mark.parametrize(
    ("birth", "end", "sane"),
    [
        (TRUE, None, True),
        (TRUE, TRUE + 1, True),
        (TRUE, TRUE + 24 * HOUR, True),
        (TRUE, TRUE, False),
        (TRUE, TRUE - HOUR, False),
        (TRUE, 0, False),
        (TRUE, (TRUE + HOUR) * 1000, False),
        (TRUE * 1000, (TRUE + HOUR) * 1000, False),
        (0, TRUE + HOUR, True),
        (0, TRUE - HOUR, False),
        (0, 0, False),
        (1, TRUE + HOUR, True),
        (TRUE + HOUR, TRUE + HOUR, True),
    ],
)
def test_an_end_that_cannot_be_is_none(birth: int, end: int | None, *, sane: bool) -> None:
    clock, made = told(TRUE, upload(birth, end))
    assert made == upload(birth, end if sane else None)
    assert clock.at(NOW, WALL) == TRUE


moments = st.integers(0, 1 << 53)


@given(st.none() | moments, moments, st.none() | moments, st.floats(0, 1e6))
def test_no_upload_is_over_when_it_was_made(
    stamp: int | None, birth: int, end: int | None, later: float
) -> None:
    clock, made = told(stamp, upload(birth, end))
    assert made is not None
    # A life as short as the making may take can be over with it.
    brief = end is not None and end - birth <= 120
    assert made.expires_at is None or clock.at(NOW, WALL) < made.expires_at or brief
    if clock.known:  # and from then on it grows by itself
        assert clock.at(NOW + later, 0.0) == pytest.approx(clock.at(NOW, WALL) + later)
