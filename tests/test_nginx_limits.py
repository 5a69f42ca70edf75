"""Through a real nginx: its limits for sizes, rates and connections, and its ways to pass on."""

import asyncio
from pathlib import Path
from typing import Final

import pytest
from asks import quicken
from behind import ENOUGH, PART, PATIENT, SIZE, assert_the_one, plain, through
from house import KEY, House, make_source
from nginx import nginx, origin
from test_cli import Shell, hint_of, shell
from toxics import Act, Toxics

from chunkup import AsyncUploader, events
from chunkup.errors import Rejected
from chunkup.models import Method

__all__ = ["shell"]  # a fixture


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    quicken(monkeypatch)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "a.jsonl"
    make_source(path, SIZE)
    return path


# --- too large --------------------------------------------------------------------------------


@pytest.mark.parametrize("more", ["", "lingering_close off;"], ids=["lingering", "at-once"])
async def test_parts_that_nginx_finds_too_large_are_cut_smaller(
    house: House, tmp_path: Path, more: str
) -> None:
    source = tmp_path / "large.jsonl"
    make_source(source, 3_000_000)
    told: list[events.Event] = []
    text = plain(house, f"client_max_body_size 300k; {more}")
    async with through(tmp_path, text, part=1_000_000) as uploader:
        file = await uploader.upload(source, purpose="user_data", on_event=told.append)
    assert_the_one(house, file, source)
    retried = [event for event in told if isinstance(event, events.PartRetried)]
    assert all("413" in event.message for event in retried)
    # 1,000,000 is refused, then half of it, then half of that is taken; never asked again.
    assert 1 <= len(retried) <= 8
    assert all(arrival.bytes <= 250_000 for arrival in house.arrivals)
    assert house.calls.count("create") == 1


async def test_where_even_small_parts_are_too_large_the_hint_leads_through(
    shell: Shell, tmp_path: Path
) -> None:
    source = "large.jsonl"
    make_source(shell.folder / source, 400_000)
    text = plain(shell.house, "client_max_body_size 30k;")
    async with nginx(tmp_path / "nginx", text) as [url]:
        shell.environ["OPENAI_BASE_URL"] = url
        done = await shell.run("upload", source, "-p", "user_data", "--part-size", "100kB")
        assert done.code == 1, done.err
        assert "413 Request Entity Too Large" in done.err
        assert "413 413" not in done.err
        assert "smaller parts may be taken" in done.err
        done = await shell.paste(hint_of(done.err))
    assert done.code == 0, done.err
    assert shell.house.content(done.out.strip()) == (shell.folder / source).read_bytes()
    assert len(shell.house.files) == 1


@pytest.mark.parametrize("more", ["", "lingering_close off;"], ids=["lingering", "at-once"])
async def test_a_file_in_one_request_that_is_too_large_is_refused_for_good_with_its_size(
    house: House, tmp_path: Path, more: str
) -> None:
    source = tmp_path / "large.jsonl"
    make_source(source, 3_000_000)
    text = plain(house, f"client_max_body_size 300k; {more}")
    async with through(tmp_path, text) as uploader:
        with pytest.raises(Rejected, match=r"413.*3 MB") as refused:
            await uploader.upload(source, purpose="user_data", method="files")
        (job,) = await uploader.jobs()
    assert refused.value.exit_code == 1
    assert not refused.value.retryable
    assert job.state == "failed"
    assert house.files == []
    assert "post" not in house.calls


# --- too many ---------------------------------------------------------------------------------


@pytest.mark.parametrize("said", ["add_header Retry-After 1 always;", ""], ids=["when", "not-when"])
async def test_a_rate_that_nginx_limits_is_kept_to(
    house: House, tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    monkeypatch.undo()  # who is not told when comes back later and later
    zone = "limit_req_zone $server_port zone=few:1m rate=10r/s;"
    text = f"limit_req zone=few burst=2 nodelay; limit_req_status 429; {said} {plain(house)}"
    told: list[events.Event] = []
    async with (
        through(tmp_path, text, also=zone) as uploader,
        asyncio.timeout(ENOUGH),
    ):
        file = await uploader.upload(source, purpose="user_data", on_event=told.append)
    assert_the_one(house, file, source)
    assert any("429" in event.message for event in told if isinstance(event, events.Paused))
    assert house.calls.count("part") == SIZE // PART


# --- connections ------------------------------------------------------------------------------


async def test_a_body_that_pauses_for_longer_than_nginx_waits_is_sent_again(
    house: House, tmp_path: Path, source: Path
) -> None:
    log = tmp_path / "requests.log"
    text = plain(house, f"client_body_timeout 1s; access_log {log};")
    told: list[events.Event] = []

    def timed_out() -> bool:
        return log.exists() and '/parts HTTP/1.1" 408 ' in log.read_text()

    async with (
        nginx(tmp_path / "nginx", text) as [url],
        Toxics(url, up=100_000) as line,
        AsyncUploader(
            base_url=line.url,
            api_key=KEY,
            journal=tmp_path / "state" / "journal.db",
            part_size=SIZE // 2,
            options=PATIENT,
        ) as uploader,
        asyncio.timeout(ENOUGH),
    ):
        run = uploader.start(source, purpose="user_data", on_event=told.append)
        while line.carried < SIZE // 4:  # noqa: ASYNC110  (a line tells nobody)
            await asyncio.sleep(0.01)
        line.stop()
        while not timed_out():  # noqa: ASYNC110  (nor does a log)
            await asyncio.sleep(0.05)
        line.up = None
        line.go_on()
        file = await run
    assert_the_one(house, file, source)
    assert any(isinstance(event, events.PartRetried) for event in told)


@pytest.mark.parametrize(
    "more",
    [
        "keepalive_requests 2;",
        "keepalive_timeout 0;",
        "keepalive_timeout 1ms;",
        "keepalive_requests 1; lingering_close off;",
    ],
)
async def test_connections_that_nginx_closes_early_cost_no_file(
    house: House, tmp_path: Path, source: Path, more: str
) -> None:
    async with (
        through(tmp_path, plain(house, more), part=4000) as uploader,
        asyncio.timeout(ENOUGH),
    ):
        file = await uploader.upload(source, purpose="user_data")
    assert_the_one(house, file, source)
    assert house.calls.count("complete") == 1


WAYS: Final = {
    "straight": "proxy_request_buffering off; proxy_buffering off;",
    "spooled": "client_body_buffer_size 8k; proxy_request_buffering on; proxy_buffering on;",
    "http-1.0": "proxy_http_version 1.0; chunked_transfer_encoding off;",
    "gzip": "gzip on; gzip_types *; gzip_min_length 1; gzip_proxied any;",
}


@pytest.mark.parametrize("method", ["uploads", "files"])
@pytest.mark.parametrize("way", WAYS)
async def test_however_nginx_passes_it_on_the_file_is_whole(
    house: House, tmp_path: Path, way: str, method: Method
) -> None:
    source = tmp_path / 'a "quoted" né.jsonl'
    make_source(source, 3_000_000)
    async with through(tmp_path, plain(house, WAYS[way]), part=500_000) as uploader:
        file = await uploader.upload(source, purpose="user_data", method=method)
    assert_the_one(house, file, source)
    assert file.filename == source.name


async def test_an_upstream_that_goes_away_midway_and_comes_back_costs_only_time(
    house: House, tmp_path: Path, source: Path
) -> None:
    async with Toxics(house.url) as line:
        text = f"location / {{ proxy_pass {origin(line.url)}; }}"
        told: list[events.Event] = []
        gone: list[asyncio.Task[None]] = []

        def hear(event: events.Event) -> None:
            told.append(event)
            if isinstance(event, events.PartAccepted) and not gone:
                gone.append(asyncio.ensure_future(line.refuse()))
                line.strike(Act.RESET)
            if isinstance(event, events.PartRetried):
                line.allow()

        async with through(tmp_path, text) as uploader, asyncio.timeout(ENOUGH):
            file = await uploader.upload(source, purpose="user_data", on_event=hear)
        await asyncio.gather(*gone)
    assert_the_one(house, file, source)
    assert any("502" in event.message for event in told if isinstance(event, events.PartRetried))
