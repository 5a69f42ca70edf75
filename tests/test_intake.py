"""What a person asks for, as a job that can be, or a refusal before anything is sent."""

import os
import time
from pathlib import Path

import pytest

from chunkup.endpoint import Endpoint, resolve
from chunkup.errors import BadOption, EmptyFile, NoSuchFile, NotAFile, TooLarge
from chunkup.intake import Content, describe
from chunkup.models import Fingerprint, Job, Limits, Plan, Span

LIMITS = Limits(part=1000, upload=10_000, by_purpose=(("batch", 5000),))
USER_DATA = Content("user_data")


@pytest.fixture
def endpoint() -> Endpoint:
    return resolve(base_url="http://127.0.0.1:1/v1/", api_key="sk-secret", environ={})


def described(
    endpoint: Endpoint,
    path: str | Path,
    content: Content = USER_DATA,
    *,
    part_size: int = 600,
    md5: bool = True,
) -> tuple[Job, Plan]:
    return describe(path, content, endpoint, LIMITS, part_size=part_size, md5=md5)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "train.jsonl"
    path.write_bytes(b"x" * 1500)
    return path


# --- content ----------------------------------------------------------------------------------


@pytest.mark.parametrize("purpose", ["", "two\nlines", "bell\a", "x" * 65])
def test_what_no_purpose_can_be_is_refused(purpose: str) -> None:
    with pytest.raises(BadOption, match="not a purpose") as caught:
        Content(purpose)
    assert caught.value.hint


@pytest.mark.parametrize("purpose", ["batch", "fine-tune", "a purpose of a provider", "x" * 64])
def test_a_purpose_is_the_providers_to_know(purpose: str) -> None:
    assert Content(purpose).purpose == purpose


@pytest.mark.parametrize("seconds", [-1, 0, 3599, 2_592_001])
def test_a_file_cannot_expire_then(seconds: int) -> None:
    with pytest.raises(BadOption, match="expire"):
        Content("batch", expires_after=seconds)


@pytest.mark.parametrize("seconds", [None, 3600, 2_592_000])
def test_a_file_can_expire_then(seconds: int | None) -> None:
    assert Content("batch", expires_after=seconds).expires_after == seconds


# --- jobs -------------------------------------------------------------------------------------


def test_a_job_is_all_that_its_file_and_the_wish_for_it_say(endpoint: Endpoint, path: Path) -> None:
    before = time.time()
    job, plan = described(
        endpoint, path, Content("batch", "other.txt", "text/x-own", 3600), md5=False
    )
    found = path.stat()
    assert (job.path, job.given) == (os.path.realpath(path), str(path))
    assert job.span == Span(0, 1500)
    assert job.fingerprint == Fingerprint(1500, found.st_mtime_ns, found.st_ino, found.st_dev)
    assert (job.purpose, job.filename, job.mime_type) == ("batch", "other.txt", "text/x-own")
    assert (job.expires_after, job.part_size, job.md5) == (3600, 600, False)
    assert before <= job.created_at <= time.time()
    # What the journal gives.
    assert (job.id, job.set_id) == ("", "")
    assert job.account.base_url == "http://127.0.0.1:1/v1"
    assert job.account.key_hash is None
    assert plan == Plan(Span(0, 1500), 600)


def test_name_and_type_follow_from_the_path_as_it_was_given(
    endpoint: Endpoint, path: Path, tmp_path: Path
) -> None:
    job, _ = described(endpoint, path)
    assert (job.filename, job.mime_type) == ("train.jsonl", "text/jsonl")
    link = tmp_path / "link.pdf"
    link.symlink_to(path)
    job, _ = described(endpoint, link)
    assert (job.filename, job.mime_type) == ("link.pdf", "application/pdf")
    assert (job.path, job.given) == (os.path.realpath(path), str(link))
    job, _ = described(endpoint, path, Content("user_data", filename="named.pdf"))
    assert job.mime_type == "application/pdf"


def test_a_path_may_be_relative_to_here(
    endpoint: Endpoint, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    job, _ = described(endpoint, "./train.jsonl")
    assert (job.path, job.given) == (os.path.realpath(path), "./train.jsonl")
    assert job.filename == "train.jsonl"


def test_two_spellings_of_a_path_mean_the_same_job(endpoint: Endpoint, path: Path) -> None:
    winding = f"{path.parent}/../{path.parent.name}/{path.name}"
    assert described(endpoint, path)[0].identity == described(endpoint, winding)[0].identity


# --- refusals ---------------------------------------------------------------------------------


def test_what_is_no_file_is_refused(endpoint: Endpoint, tmp_path: Path) -> None:
    with pytest.raises(NoSuchFile):
        described(endpoint, tmp_path / "nothing")
    with pytest.raises(NotAFile):
        described(endpoint, tmp_path)
    empty = tmp_path / "empty"
    empty.touch()
    with pytest.raises(EmptyFile, match="empty"):
        described(endpoint, empty)


@pytest.mark.skipif(os.uname().sysname == "Darwin", reason="its file names are always text")
def test_a_name_that_is_no_text_needs_another(endpoint: Endpoint, tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jsonl")
    Path(path).write_bytes(b"x")
    with pytest.raises(BadOption, match="no valid text") as caught:
        described(endpoint, path)
    assert "--filename" in (caught.value.hint or "")
    caught.value.message.encode()
    assert described(endpoint, path, Content("batch", filename="cafe.jsonl"))[0].path == path


@pytest.mark.parametrize(("purpose", "most"), [("user_data", 10_000), ("batch", 5000)])
def test_what_is_longer_than_the_provider_takes_for_its_purpose_is_refused(
    endpoint: Endpoint, path: Path, purpose: str, most: int
) -> None:
    os.truncate(path, most)
    assert described(endpoint, path, Content(purpose))[1].span.size == most
    os.truncate(path, most + 1)
    with pytest.raises(TooLarge):
        described(endpoint, path, Content(purpose))


@pytest.mark.parametrize("part_size", [0, -1, 1001])
def test_a_part_size_that_cannot_be_is_refused(
    endpoint: Endpoint, path: Path, part_size: int
) -> None:
    with pytest.raises(BadOption, match="part size"):
        described(endpoint, path, part_size=part_size)
