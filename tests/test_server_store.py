"""The embedded server's store, without a network: real files, real SQLite, a fake clock."""

import hashlib
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
import xxhash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chunkup.server.content import DiscardedError, StoppedError
from chunkup.server.errors import ApiError
from chunkup.server.store import (
    FileRow,
    NewFile,
    NewUpload,
    PartRow,
    Store,
    StoreInUseError,
    UploadRow,
)

DAY = 86_400


class Clock:
    def __init__(self) -> None:
        self.now = 1_750_000_000.75

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    store = Store(tmp_path, clock=clock)
    yield store
    store.close()


def create(store: Store, size: int, *, purpose: str = "user_data") -> UploadRow:
    new = NewUpload(filename="a.bin", bytes=size, mime_type="text/plain", purpose=purpose)
    return store.create_upload(new)


def put(store: Store, upload_id: str, content: bytes) -> PartRow:
    incoming = store.receive()
    try:
        incoming.write([memoryview(content)])
        return store.add_part(upload_id, incoming)
    finally:
        incoming.discard()


def put_file(store: Store, content: bytes = b"x", *, purpose: str = "user_data") -> FileRow:
    incoming = store.receive()
    incoming.write([memoryview(content)])
    return store.add_file(NewFile(filename="a.bin", purpose=purpose), incoming)


def on_disk(directory: Path) -> set[str]:
    return {path.name for path in directory.glob("*/*")}


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def test_the_ids_decide_the_order_and_orphans_leave_only_rows(store: Store, tmp_path: Path) -> None:
    upload = create(store, 6)
    first, orphan, second = (put(store, upload.id, text) for text in (b"abc", b"orphan", b"def"))

    done, file = store.complete_upload(upload.id, [second.id, first.id], md5(b"defabc"))

    assert (done.status, done.file_id) == ("completed", file.id)
    assert b"".join(store.read_file(file.id)) == b"defabc"
    assert store.md5_of(file.id) == md5(b"defabc")
    assert on_disk(tmp_path) == {first.id, second.id}
    assert store.parts() == [first, orphan, second]
    assert orphan.xxh3 == xxhash.xxh3_128_hexdigest(b"orphan")


def test_a_file_is_as_old_as_its_upload(store: Store, clock: Clock) -> None:
    upload = create(store, 1, purpose="batch")
    part = put(store, upload.id, b"x")
    clock.now += 100

    _, file = store.complete_upload(upload.id, [part.id])

    assert file.created_at == upload.created_at == 1_750_000_000
    assert file.expires_at == upload.created_at + 30 * DAY


Refusal = Callable[[PartRow, PartRow], tuple[Sequence[str], str | None]]


@pytest.mark.parametrize(
    ("ask", "param"),
    [
        (lambda a, _: ([a.id, a.id], None), "part_ids"),
        (lambda a, _: ([a.id, "part_unknown"], None), "part_ids"),
        (lambda a, _: ([a.id, "\ud800"], None), "part_ids"),
        (lambda a, foreign: ([a.id, foreign.id], None), "part_ids"),
        (lambda _a, _: ([], None), "bytes"),
        (lambda a, _: ([a.id], None), "bytes"),
    ],
    ids=["twice", "unknown", "not text", "another upload's", "none", "too few"],
)
def test_a_refused_complete_leaves_the_upload_pending(
    store: Store, ask: Refusal, param: str
) -> None:
    foreign = put(store, create(store, 3).id, b"def")
    upload = create(store, 6)
    part = put(store, upload.id, b"abc")
    part_ids, checksum = ask(part, foreign)

    with pytest.raises(ApiError) as refused:
        store.complete_upload(upload.id, part_ids, checksum)

    assert (refused.value.status, refused.value.param) == (400, param)
    assert store.upload(upload.id).status == "pending"
    rest = put(store, upload.id, b"def")
    store.complete_upload(upload.id, [part.id, rest.id], md5(b"abcdef").upper())


def test_a_wrong_sum_is_told_in_both_numbers(store: Store) -> None:
    upload = create(store, 6)
    part = put(store, upload.id, b"abcd")
    with pytest.raises(ApiError, match=r"\b4 bytes.*\b6 bytes"):
        store.complete_upload(upload.id, [part.id])


def test_a_wrong_md5_leaves_the_upload_pending(store: Store) -> None:
    upload = create(store, 3)
    part = put(store, upload.id, b"abc")
    with pytest.raises(ApiError) as refused:
        store.complete_upload(upload.id, [part.id], md5(b"abd"))
    assert (refused.value.status, refused.value.param) == (400, "md5")
    assert store.files() == []
    store.complete_upload(upload.id, [part.id], md5(b"abc"))


def complete(store: Store, upload_id: str) -> None:
    store.complete_upload(upload_id, [part.id for part in store.parts(upload_id)])


def expire(store: Store, upload_id: str) -> None:
    clock = store.clock
    assert isinstance(clock, Clock)
    clock.now = store.upload(upload_id).expires_at


def add_late_part(store: Store, upload_id: str) -> None:
    put(store, upload_id, b"late")


def cancel(store: Store, upload_id: str) -> None:
    store.cancel_upload(upload_id)


@pytest.mark.parametrize(
    ("end", "words"),
    [(complete, "is not pending: it is completed"), (cancel, "cancelled"), (expire, "is expired")],
)
@pytest.mark.parametrize("then", [add_late_part, complete, cancel])
def test_an_upload_that_ended_accepts_nothing(
    store: Store,
    tmp_path: Path,
    end: Callable[[Store, str], None],
    words: str,
    then: Callable[[Store, str], None],
) -> None:
    upload = create(store, 3)
    put(store, upload.id, b"abc")
    end(store, upload.id)
    store.sweep()
    kept = {path.name for path in (tmp_path / "content").iterdir()}

    with pytest.raises(ApiError, match=words) as refused:
        then(store, upload.id)

    assert refused.value.status == 400
    assert {path.name for path in (tmp_path / "content").iterdir()} == kept
    assert list((tmp_path / "incoming").iterdir()) == []
    assert len(store.parts(upload.id)) == 1


def test_a_second_cancel_is_told_that_it_is_one(store: Store) -> None:
    upload = create(store, 3)
    store.cancel_upload(upload.id)
    with pytest.raises(ApiError, match="is already cancelled"):
        store.cancel_upload(upload.id)


@pytest.mark.parametrize("end", [cancel, expire])
def test_ending_an_upload_deletes_its_bytes(
    store: Store, tmp_path: Path, end: Callable[[Store, str], None]
) -> None:
    upload = create(store, 9)
    parts = [put(store, upload.id, b"abc"), put(store, upload.id, b"def")]
    other = put(store, create(store, 3).id, b"ghi") if end is cancel else None

    end(store, upload.id)
    store.sweep()

    assert on_disk(tmp_path) == ({other.id} if other else set())
    assert store.parts(upload.id) == parts


def test_an_upload_lives_until_its_last_second(store: Store, clock: Clock) -> None:
    upload = create(store, 3)
    assert upload.expires_at == upload.created_at + 3600
    clock.now = upload.expires_at - 0.01
    assert store.upload(upload.id).status == "pending"
    clock.now = upload.expires_at
    assert store.upload(upload.id).status == "expired"


def test_of_many_completes_exactly_one_wins(store: Store) -> None:
    upload = create(store, 3)
    part = put(store, upload.id, b"abc")
    together = threading.Barrier(8)

    def ask(_thread: int) -> str:
        together.wait()
        try:
            _, file = store.complete_upload(upload.id, [part.id], md5(b"abc"))
        except ApiError as error:
            return error.message
        return file.id

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(ask, range(8)))

    (file,) = store.files()
    assert answers.count(file.id) == 1
    assert sum("is not pending" in answer for answer in answers) == 7


@pytest.mark.parametrize(
    ("end", "words"), [(complete, "completed"), (cancel, "cancelled"), (expire, "expired")]
)
@pytest.mark.parametrize("read", [0, 1], ids=["before its last part is opened", "after"])
def test_an_upload_that_ends_while_it_is_hashed_makes_no_second_file(
    store: Store, end: Callable[[Store, str], None], words: str, read: int
) -> None:
    upload = create(store, 6)
    parts = [put(store, upload.id, b"abc"), put(store, upload.id, b"def")]
    calls = itertools.count()

    def meanwhile() -> bool:
        if next(calls) == read:
            end(store, upload.id)
        return False

    with pytest.raises(ApiError, match=words):
        store.complete_upload(
            upload.id, [part.id for part in parts], md5(b"abcdef"), stopped=meanwhile
        )

    assert len(store.files()) == (1 if end is complete else 0)


def test_hashing_can_be_stopped(store: Store) -> None:
    upload = create(store, 3)
    part = put(store, upload.id, b"abc")
    with pytest.raises(StoppedError):
        store.complete_upload(upload.id, [part.id], md5(b"abc"), stopped=lambda: True)
    assert store.upload(upload.id).status == "pending"


def test_a_part_whose_row_is_refused_leaves_nothing(store: Store, tmp_path: Path) -> None:
    upload = create(store, 3)
    store._ledger._db.execute(
        "CREATE TRIGGER full BEFORE INSERT ON parts BEGIN SELECT RAISE(ABORT, 'disk full'); END"
    )
    with pytest.raises(Exception, match="disk full"):
        put(store, upload.id, b"abc")
    assert on_disk(tmp_path) == set()
    assert store.parts() == []


def test_a_discarded_body_takes_no_more_bytes(store: Store, tmp_path: Path) -> None:
    upload = create(store, 3)
    incoming = store.receive()
    incoming.discard()
    incoming.discard()
    with pytest.raises(DiscardedError):
        incoming.write([memoryview(b"abc")])
    with pytest.raises(DiscardedError):
        store.add_part(upload.id, incoming)
    assert on_disk(tmp_path) == set()


def test_discarding_waits_for_a_write_under_way(store: Store, tmp_path: Path) -> None:
    incoming = store.receive()
    discarding = threading.Thread(target=incoming.discard)

    def pieces() -> Iterator[memoryview]:
        yield memoryview(b"abc")
        discarding.start()
        # Without the wait it would end here, and the next write would meet a closed file.
        discarding.join(0.2)
        yield memoryview(b"def")

    incoming.write(pieces())
    discarding.join()
    assert incoming.bytes == 6
    assert on_disk(tmp_path) == set()


def test_a_restart_carries_on_and_sweeps_what_was_half_done(tmp_path: Path, clock: Clock) -> None:
    first = Store(tmp_path, clock=clock)
    upload = create(first, 6)
    part = put(first, upload.id, b"abc")
    file = put_file(first, b"whole")
    cancelled = create(first, 3)
    put(first, cancelled.id, b"abc")
    # What a kill leaves: a body half received, bytes without a row, bytes nobody deleted.
    half = first.receive()
    half.write([memoryview(b"ab")])
    (tmp_path / "content" / "part_without_row").write_bytes(b"abc")
    first._ledger.end_upload(cancelled.id, "cancelled")
    first.close()

    second = Store(tmp_path, clock=clock)

    assert list((tmp_path / "incoming").iterdir()) == []
    assert {path.name for path in (tmp_path / "content").iterdir()} == {
        part.id,
        second.slices(file.id)[0].path.name,
    }
    assert second.upload(upload.id) == upload
    rest = put(second, upload.id, b"def")
    _, completed = second.complete_upload(upload.id, [part.id, rest.id], md5(b"abcdef"))
    assert second.files() == [file, completed]
    assert b"".join(second.read_file(file.id)) == b"whole"
    second.close()
    half.discard()


def test_one_directory_has_one_store(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(StoreInUseError):
        Store(tmp_path)
    store.close()
    store.close()
    Store(tmp_path).close()


def test_an_expired_file_vanishes(store: Store, tmp_path: Path, clock: Clock) -> None:
    file = put_file(store, purpose="batch")
    lasting = put_file(store)
    assert file.expires_at == file.created_at + 30 * DAY
    assert lasting.expires_at is None

    clock.now = file.created_at + 30 * DAY

    with pytest.raises(ApiError, match="No such File object") as refused:
        store.file(file.id)
    assert refused.value.status == 404
    assert store.files() == [lasting]
    assert len(on_disk(tmp_path)) == 1


@pytest.mark.parametrize("unknown", ["file-x", "../lock", "", "\ud800", "\0"])
def test_ids_from_outside_are_only_looked_up(store: Store, unknown: str) -> None:
    for call in (store.file, store.delete_file, store.slices, store.upload, store.cancel_upload):
        with pytest.raises(ApiError) as refused:
            call(unknown)
        assert refused.value.status == 404


def test_a_deleted_file_is_gone_with_its_bytes(store: Store, tmp_path: Path) -> None:
    file = put_file(store)
    store.delete_file(file.id)
    assert on_disk(tmp_path) == set()
    for call in (store.file, store.delete_file, store.md5_of):
        with pytest.raises(ApiError):
            call(file.id)


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8])
@pytest.mark.parametrize("deleting", [True, False])
def test_pages_cover_the_list_once_in_order(
    store: Store, clock: Clock, limit: int, *, newest_first: bool, deleting: bool
) -> None:
    files = []
    for second in (0, 0, 0, 1, 1, 2, 3):
        clock.now = 1_750_000_000 + second
        files.append(put_file(store))
    put_file(store, purpose="evals")
    if newest_first:
        files.reverse()

    seen: list[FileRow] = []
    after = None
    while True:
        page = store.list_files(
            purpose="user_data", limit=limit, newest_first=newest_first, after=after
        )
        seen += page.files
        assert page.has_more == (len(seen) < len(files))
        if not page.has_more:
            break
        after = page.files[-1].id
        if deleting:
            store.delete_file(after)

    assert seen == files


def test_a_cursor_that_was_never_a_file_is_refused(store: Store) -> None:
    with pytest.raises(ApiError) as refused:
        store.list_files(purpose=None, limit=1, newest_first=True, after="file-x")
    assert refused.value.status == 404


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    contents=st.lists(st.binary(max_size=5), min_size=1, max_size=6).filter(any),
    bounds=st.tuples(st.integers(0, 31), st.integers(0, 31)),
)
def test_any_range_of_any_segments_is_that_range_of_the_whole(
    store: Store, contents: list[bytes], bounds: tuple[int, int]
) -> None:
    whole = b"".join(contents)
    upload = create(store, len(whole))
    parts = [put(store, upload.id, content) for content in contents]
    _, file = store.complete_upload(upload.id, [part.id for part in parts], md5(whole))

    found = b""
    for piece in store.slices(file.id, *bounds):
        content = piece.path.read_bytes()[piece.offset :][: piece.bytes]
        assert len(content) == piece.bytes > 0
        found += content

    assert found == whole[slice(*bounds)]


# --- parts that nobody lists


@pytest.mark.parametrize("declared", [5, 6])
def test_a_server_that_counts_orphans_has_no_room_for_them(tmp_path: Path, declared: int) -> None:
    with closing(Store(tmp_path, orphans="count")) as store:
        upload = create(store, declared)
        put(store, upload.id, b"abc")
        if declared == 6:
            put(store, upload.id, b"def")
        with pytest.raises(ApiError, match=f"exceeds the {declared} bytes") as refused:
            put(store, upload.id, b"ghi")
        assert (refused.value.status, refused.value.param) == (400, "bytes")
        assert len(on_disk(tmp_path)) == len(store.parts()) == (2 if declared == 6 else 1)
        assert store.upload(upload.id).status == "pending"


def test_a_server_that_refuses_orphans_completes_without_them_only(tmp_path: Path) -> None:
    with closing(Store(tmp_path, orphans="refuse")) as store:
        upload, other = create(store, 3), create(store, 3)
        part, orphan = put(store, upload.id, b"abc"), put(store, upload.id, b"lost")
        alone = put(store, other.id, b"abc")
        for checksum in (None, md5(b"abc")):
            with pytest.raises(ApiError, match="4 bytes in parts that are not") as refused:
                store.complete_upload(upload.id, [part.id], checksum)
            assert (refused.value.status, refused.value.param) == (400, "bytes")
        assert store.files() == []
        assert store.upload(upload.id).status == "pending"
        assert on_disk(tmp_path) == {part.id, orphan.id, alone.id}
        store.complete_upload(other.id, [alone.id])
