"""The words cannot say what cannot be."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import jobs, plain_job, spans

from chunkup import models
from chunkup.models import GIB, MIB, PART_SIZE, Account, Fingerprint, Limits, Options, Plan, Span

WORDS = [
    word
    for word in vars(models).values()
    if dataclasses.is_dataclass(word) and isinstance(word, type)
]


@pytest.mark.parametrize("word", WORDS)
def test_every_word_is_frozen_and_slotted_and_explained(word: type[Any]) -> None:
    assert word.__dataclass_params__.frozen
    assert "__slots__" in vars(word)
    assert word.__doc__
    assert not word.__doc__.startswith(f"{word.__name__}(")


@given(st.integers(-5, 50), st.integers(-5, 50))
def test_a_span_has_at_least_one_byte_and_begins_in_the_file(start: int, stop: int) -> None:
    if 0 <= start < stop:
        assert Span(start, stop).size == stop - start
    else:
        with pytest.raises(ValueError, match="stretch"):
            Span(start, stop)


@given(st.lists(spans(), max_size=10))
def test_spans_sort_in_file_order(some: list[Span]) -> None:
    starts = [span.start for span in sorted(some)]
    assert starts == sorted(starts)


@given(spans(longest=200), st.integers(1, 250))
def test_a_plan_counts_the_parts_it_makes(span: Span, part_size: int) -> None:
    made = Plan(span, part_size)
    assert made.count == len(made.parts()) >= 1
    assert sum(part.size for part in made.parts()) == span.size


@pytest.mark.parametrize("part_size", [0, -1])
def test_a_plan_without_a_part_size_cannot_be(part_size: int) -> None:
    with pytest.raises(ValueError, match="part size"):
        Plan(Span(0, 1), part_size)


def test_a_part_is_what_the_official_helper_sends() -> None:
    assert PART_SIZE == 67_108_864
    assert (MIB, GIB) == (1_048_576, 1_073_741_824)


@given(jobs())
def test_content_and_pace_are_no_part_of_a_jobs_identity(job: models.Job) -> None:
    seen = job.fingerprint
    other = dataclasses.replace(
        job,
        id="other",
        set_id=job.set_id + "x",
        fingerprint=Fingerprint(seen.size, seen.mtime_ns + 1, seen.inode + 1, seen.device + 1),
        created_at=job.created_at + 1,
        part_size=job.part_size + 1,
        md5=not job.md5,
    )
    assert other.identity == job.identity
    assert hash(other.identity) == hash(job.identity)


def test_a_file_that_grew_is_the_same_job_but_a_longer_stretch_of_it_is_another() -> None:
    job, grown = plain_job(size=1000), plain_job(size=2000)
    assert job.identity == grown.identity
    assert dataclasses.replace(grown, span=job.span).identity != job.identity
    part = dataclasses.replace(job, span=Span(0, 500))
    assert part.identity != job.identity
    longer_file = dataclasses.replace(part, fingerprint=grown.fingerprint)
    assert longer_file.identity == part.identity


@pytest.mark.parametrize(
    "change",
    [
        {"account": Account("https://other.example.com/v1")},
        {"account": Account("https://api.example.com/v1", organization="org")},
        {"account": Account("https://api.example.com/v1", project="proj")},
        {"account": Account("https://api.example.com/v1", headers=("x-a",))},
        {"account": Account("https://api.example.com/v1", key_hash="aa")},
        {"path": "/data/other.jsonl"},
        {"span": Span(1, 1000)},
        {"purpose": "user_data"},
        {"filename": "other.jsonl"},
        {"mime_type": "text/plain"},
        {"expires_after": 3600},
        {"method": "files"},
    ],
)
def test_whatever_the_server_would_see_is_part_of_a_jobs_identity(change: dict[str, Any]) -> None:
    job = plain_job()
    assert dataclasses.replace(job, **change).identity != job.identity


def test_a_job_is_as_large_as_its_stretch_not_as_its_file() -> None:
    assert dataclasses.replace(plain_job(size=1000), span=Span(100, 250)).size == 150


def test_a_limit_of_a_purpose_is_looked_up_before_the_general_one() -> None:
    limits = Limits(upload=10, by_purpose=(("batch", 5),))
    assert limits.largest("batch") == 5
    assert limits.largest("user_data") == 10
    assert Limits().largest("batch") is None


def test_the_usual_options_are_those_of_the_manual() -> None:
    assert dataclasses.asdict(Options()) == {
        "workers": 16,
        "retries": 8,
        "stall_timeout": 60,
        "complete_timeout": 600,
        "wait_limit": 15 * 60,
        "offline_wait": 15 * 60,
        "looks": (0, 2, 5, 10),
        "patience": 120,
        "generations": 3,
        "fail_if_late": False,
        "limit_rate": None,
    }


@pytest.mark.parametrize(
    "impossible",
    [
        {"workers": 0},
        {"workers": 65},
        {"retries": -1},
        {"stall_timeout": 0.0},
        {"stall_timeout": -1.0},
        {"stall_timeout": float("nan")},
        {"complete_timeout": 0.0},
        {"generations": 0},
    ],
)
def test_options_that_no_upload_can_have_are_refused(impossible: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Options(**impossible)
