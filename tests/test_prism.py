"""The official contract as a judge between chunkup and the embedded server: Prism, as a proxy.

Prism 5.14.2 compares every request and every answer with the contract and names what violates it
in a header of the answer. It takes bodies of up to 10 MB and turns what is not UTF-8 in them into
U+FFFD, so what it judges is ASCII, and what it spoils is a test of its own.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import aiohttp
import pytest
from contract import contract_path
from counterparts import Counterpart, installed, started
from elsewhere import in_a_thread
from house import HASTY, KEY, House, open_house

from chunkup import AsyncUploader, Failed, events
from chunkup.models import Method

PRISM: Final = {"@stoplight/prism-cli": "5.14.2"}
PART: Final = 40_000

# What the embedded server does although the contract has it otherwise: the recordings of the real
# API show both as null where they are not set.
UNSET: Final = ("expires_at must be integer", "status_details must be string")
# What Prism makes of content: the contract has it as a JSON string, and it comes as it is.
CONTENT: Final = "does not match the one specified in the current response: application/json"


@dataclass
class Judge:
    """What Prism found, by request: ``("POST /uploads", "request.body.purpose: ...")``."""

    found: list[tuple[str, str]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    @property
    def tracing(self) -> aiohttp.TraceConfig:
        config = aiohttp.TraceConfig()
        config.on_request_end.append(self._heard)
        return config

    async def _heard(
        self,
        session: aiohttp.ClientSession,
        context: SimpleNamespace,
        params: aiohttp.TraceRequestEndParams,
    ) -> None:
        del session, context
        request = f"{params.method} {params.url.path}"
        self.asked.append(request)
        told: list[dict[str, Any]] = json.loads(params.response.headers.get("sl-violations", "[]"))
        self.found += [
            (request, f"{'.'.join(map(str, one['location']))}: {one['message']}") for one in told
        ]

    def violations(self, *known: str) -> list[tuple[str, str]]:
        """What was found, but for messages that end so."""
        return [one for one in self.found if not one[1].endswith((*UNSET, *known))]


@dataclass
class Court:
    """Prism, and the server behind it, which lives in a thread of its own."""

    prism: Counterpart
    house: House

    def uploader(self, journal: Path, judge: Judge, *, md5: bool = True) -> AsyncUploader:
        return AsyncUploader(
            base_url=self.prism.url,
            api_key=KEY,
            journal=journal,
            part_size=PART,
            md5=md5,
            options=replace(HASTY, complete_timeout=60.0),
            trace_configs=[judge.tracing],
        )


@pytest.fixture(scope="module")
def court(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Court]:
    contract = contract_path()
    folder = installed("prism", PRISM)
    kept = tmp_path_factory.mktemp("behind-prism")
    with in_a_thread(lambda: open_house(kept)) as house:
        cli = "node_modules/@stoplight/prism-cli/dist/index.js"
        command = ["node", cli, "proxy", str(contract), house.url]
        with started(command, folder=folder) as prism:
            yield Court(prism, house)


@pytest.fixture
def judge() -> Judge:
    return Judge()


def write_lines(path: Path, size: int) -> bytes:
    """Fill a file with ASCII, no two stretches alike."""
    lines = (f'{{"custom_id": "{path.stem}-{number}"}}\n' for number in range(size // 20))
    content = "".join(lines).encode()[: size - 1] + b"\n"
    path.write_bytes(content)
    return content


@pytest.mark.parametrize("method", ["uploads", "files"])
async def test_an_upload_keeps_the_contract_by_either_method(
    court: Court, judge: Judge, journal: Path, tmp_path: Path, method: Method
) -> None:
    source = tmp_path / f"{method}.jsonl"
    content = write_lines(source, 3 * PART)
    async with court.uploader(journal, judge) as uploader:
        file = await uploader.upload(
            source,
            purpose="assistants",
            method=method,
            mime_type="text/jsonl",
            expires_after=86_400,
        )
        assert court.house.content(file.id) == content
        assert file.expires_at == file.created_at + 86_400
        assert await uploader.files.retrieve(file.id) == file
        listed = [one async for one in uploader.files.list(purpose="assistants")]
        assert file in listed
        assert await uploader.files.delete(file.id)
    posts = [request for request in judge.asked if request.startswith("POST ")]
    assert len(posts) == (5 if method == "uploads" else 1)
    assert judge.violations() == []
    # The judge was awake: it did see what is known.
    assert judge.found


async def test_content_comes_back_as_it_is(
    court: Court, judge: Judge, journal: Path, tmp_path: Path
) -> None:
    source, back = tmp_path / "content.jsonl", tmp_path / "back.jsonl"
    content = write_lines(source, 5000)
    async with court.uploader(journal, judge) as uploader:
        file = await uploader.upload(source, purpose="fine-tune", check=False)
        await uploader.files.download(file.id, back)
    assert back.read_bytes() == content
    assert judge.violations(CONTENT) == []


async def test_cancelling_keeps_the_contract(
    court: Court, judge: Judge, journal: Path, tmp_path: Path
) -> None:
    source = tmp_path / "cancelled.jsonl"
    write_lines(source, 20 * PART)
    async with court.uploader(journal, judge) as uploader:

        def stop(event: events.Event) -> None:
            if isinstance(event, events.PartAccepted):
                run.stop()

        run = uploader.start(source, purpose="assistants", on_event=stop)
        await run.wait()
        job_id = await run.ready()
        assert job_id is not None
        await uploader.cancel(job_id)
        (job,) = await uploader.jobs()
    assert job.state == "cancelled"
    assert judge.asked[-1].endswith("/cancel")
    assert judge.violations() == []


async def test_the_judge_objects_to_what_the_contract_forbids(
    court: Court, judge: Judge, journal: Path, tmp_path: Path
) -> None:
    # The contract names four purposes for Uploads; four sources of the SDKs name six.
    source = tmp_path / "user_data.jsonl"
    write_lines(source, 1000)
    async with court.uploader(journal, judge) as uploader:
        await uploader.upload(source, purpose="user_data")
    (told,) = judge.violations()
    assert told[0] == "POST /uploads"
    assert told[1].startswith("request.body.purpose: ")
    assert told[1].endswith("allowed values: assistants, batch, fine-tune, vision")


# Three bytes that are no UTF-8 become one character of three bytes; a lone one becomes three.
@pytest.mark.parametrize(
    ("spoiled", "md5", "said"),
    [
        (b"\xf0\x9f\x98", True, "md5"),
        (b"\xff", True, "md5|bytes"),
        (b"\xff", False, "bytes"),
    ],
    ids=["same-length", "longer", "longer-unhashed"],
)
async def test_a_part_that_was_spoiled_on_the_way_makes_no_file_and_no_loop(
    court: Court,
    judge: Judge,
    journal: Path,
    tmp_path: Path,
    spoiled: bytes,
    md5: bool,  # noqa: FBT001  (a parameter of the test)
    said: str,
) -> None:
    source = tmp_path / f"spoiled-{len(spoiled)}-{md5}.bin"
    content = write_lines(source, 3 * PART)
    half = len(content) // 2
    source.write_bytes(content[:half] + spoiled + content[half + len(spoiled) :])
    before = [row.id for row in court.house.files]
    told: list[events.Event] = []
    async with court.uploader(journal, judge, md5=md5) as uploader:
        with pytest.raises(Failed, match=rf"(?is)({said}).*no File was made") as failed:
            await uploader.upload(source, purpose="assistants", on_event=told.append)
        (job,) = await uploader.jobs()
    assert (failed.value.exit_code, job.state) == (1, "failed")
    assert "gateway on the way" in str(failed.value)
    assert [row.id for row in court.house.files] == before
    asked = [request.rpartition("/")[2] for request in judge.asked]
    assert (asked.count("parts"), asked.count("complete")) == (3, 1)
    assert sum(isinstance(event, events.UploadCreated) for event in told) == 1


async def test_a_file_in_one_request_that_was_spoiled_is_not_given_out(
    court: Court, judge: Judge, journal: Path, tmp_path: Path
) -> None:
    source = tmp_path / "spoiled.bin"
    source.write_bytes(write_lines(source, 5000)[:-1] + b"\xff")
    async with court.uploader(journal, judge) as uploader:
        with pytest.raises(Failed, match="do not use it") as failed:
            await uploader.upload(source, purpose="assistants", method="files")
        (job,) = await uploader.jobs()
    assert (failed.value.exit_code, job.state) == (1, "failed")
    assert judge.asked.count("POST /files") == 1
