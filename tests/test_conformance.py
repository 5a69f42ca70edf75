"""Every preset, by the same questions: at what imitates it from quoted bodies, or else at the
embedded server, which is as strict as the official contract.

What no source quotes of a provider is not asked of its imitation.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from house import HASTY, KEY, Handler, House, make_source, open_house
from imitations import IMITATED, Imitation, imitation

from chunkup import AsyncUploader, RemoteFile
from chunkup.errors import BadOption, NotFound, OutOfQuota, Rejected, TooLarge, Unauthorized
from chunkup.providers import PRESETS, Auth, Provider

SIZE = 2500
# Names of one provider in two places, and what a base URL alone does not say.
_AS = {"dashscope-intl": "dashscope"}
_MORE: dict[str, dict[str, Any]] = {"azure": {"query": {"api-version": "2024-10-21"}}}


@dataclass
class Place:
    """A preset, the server that stands for its provider, and an uploader that goes there."""

    preset: Provider
    uploader: AsyncUploader
    folder: Path
    imitation: Imitation | None = None
    house: House | None = None
    seen: list[tuple[dict[str, str], dict[str, str]]] = field(default_factory=list)

    @property
    def signed(self) -> list[tuple[dict[str, str], dict[str, str]]]:
        """Headers and query of every request that carried content."""
        if self.imitation is None:
            return self.seen
        return [(one.headers, one.query) for one in self.imitation.asked if one.method == "POST"]

    async def see(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method == "POST":
            headers = {name.lower(): value for name, value in request.headers.items()}
            self.seen.append((headers, dict(request.query)))
        return await handler(request)

    @property
    def purpose(self) -> str:
        return (self.preset.purposes or ("user_data",))[0]

    @property
    def calls(self) -> list[str]:
        """The first words of all paths that were asked for."""
        if self.imitation is not None:
            return [asked.path.split("/")[0] for asked in self.imitation.asked]
        assert self.house is not None
        words = {"create": "uploads", "part": "uploads", "complete": "uploads"}
        return [words.get(call, "files") for call in self.house.calls]

    def quotes(self, call: str) -> bool:
        return self.imitation is None or self.imitation.quotes(call)

    def stored(self, file_id: str) -> bytes:
        if self.imitation is not None:
            return self.imitation.files[file_id].content
        assert self.house is not None
        return self.house.content(file_id)

    async def upload(self, name: str = "train.jsonl", **more: Any) -> RemoteFile:
        path = self.folder / "source"
        make_source(path, SIZE)
        wanted = {"purpose": self.purpose, "filename": name, "check": False, **more}
        return await self.uploader.upload(path, **wanted)


@pytest.fixture(params=PRESETS)
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    preset = PRESETS[request.param]
    name = _AS.get(preset.name, preset.name)

    def uploader(url: str) -> AsyncUploader:
        return AsyncUploader(
            base_url=url,
            preset=preset.name,
            api_key=KEY,
            journal=tmp_path / "journal.db",
            part_size=1000,
            options=HASTY,
            **_MORE.get(preset.name, {}),
        )

    if name in IMITATED:
        async with imitation(name) as server, uploader(server.url) as made:
            yield Place(preset, made, tmp_path, imitation=server)
        return
    async with open_house(tmp_path / "server", key=None) as house, uploader(house.url) as made:
        place = Place(preset, made, tmp_path, house=house)
        house.intercept = place.see
        yield place


async def test_a_file_arrives_by_what_the_provider_has_signed_as_it_wants(place: Place) -> None:
    file = await place.upload()
    assert place.stored(file.id) == (place.folder / "source").read_bytes()
    assert file.filename == "train.jsonl"
    assert file.bytes == SIZE
    assert file.purpose in {place.purpose, ""}
    assert ("uploads" in place.calls) is (place.preset.uploads is not False)
    assert place.signed
    for headers, query in place.signed:
        if place.preset.auth is Auth.API_KEY:
            assert headers["api-key"] == KEY
            assert "authorization" not in headers
        else:
            assert headers["authorization"] == f"Bearer {KEY}"
        assert _MORE.get(place.preset.name, {}).get("query", {}) == query


async def test_files_are_shown_listed_read_and_deleted(place: Place, tmp_path: Path) -> None:
    file = await place.upload()
    files = place.uploader.files
    if place.quotes("retrieve"):
        shown = await files.retrieve(file.id)
        assert (shown.id, shown.bytes, shown.filename) == (file.id, SIZE, "train.jsonl")
        assert shown.created_at > 0
    if place.quotes("list"):
        assert [listed.id async for listed in files.list()] == [file.id]
        assert [listed.id async for listed in files.list(purpose=place.purpose)] == [file.id]
    await files.download(file.id, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == (place.folder / "source").read_bytes()
    if place.quotes("delete"):
        await files.delete(file.id)
        with pytest.raises((NotFound, Rejected)):
            await files.retrieve(file.id)


async def test_a_hostile_filename_arrives_as_browsers_spell_it_or_is_refused(
    place: Place,
) -> None:
    for name in ('he said "hi".jsonl', "naïve 你好.jsonl", "line\r\nend.jsonl", "a;b=c%22 .jsonl"):
        try:
            file = await place.upload(name)
        except Rejected:
            assert place.preset.name == "stdapi", name
            assert any(char in name for char in '"\r\n'), name
        else:
            assert place.stored(file.id) == (place.folder / "source").read_bytes()


async def test_a_purpose_of_its_own_is_sent_and_the_server_judges(place: Place) -> None:
    try:
        file = await place.upload(purpose="our-own-purpose")
    except Rejected as error:
        assert "our-own-purpose" in str(error) or "purpose" in str(error)  # noqa: PT017  (some take it)
        assert place.calls
        return
    assert file.purpose in {"our-own-purpose", ""}


async def test_what_is_gone_is_a_refusal_and_no_trouble(place: Place) -> None:
    kind = Rejected if place.preset.name == "llama-stack" else NotFound
    for attempt in (place.uploader.files.retrieve, place.uploader.files.delete):
        before = len(place.calls)
        with pytest.raises(kind) as caught:
            await attempt("file-that-is-gone")
        assert not caught.value.retryable
        assert len(place.calls) == before + 1


async def test_a_file_whose_answer_is_lost_is_found_and_not_made_twice(place: Place) -> None:
    server = place.imitation
    if server is None or not server.quotes("list"):
        return  # the embedded server's lost answers have tests of their own
    for rising in (False, True):
        server.rising = rising
        # Newer and older ones of other names: what is looked for may be on any page.
        for age in (-5, 100_000):
            for n in range(110):
                other = server.make_file(b"x", filename=f"other-{n}", purpose=place.purpose)
                other.values["created_at"] -= age
        server.lost, before = 1, set(server.files)
        file = await place.upload(f"lost-{rising}.jsonl", method="files")
        assert set(server.files) - before == {file.id}
        assert file.bytes == SIZE


async def test_no_expiry_is_asked_of_those_who_take_none(place: Place) -> None:
    if not place.preset.expires:
        with pytest.raises(BadOption, match="when a File expires") as caught:
            await place.upload(expires_after=7200)
        assert place.preset.title in caught.value.message
        with pytest.raises(BadOption, match="when a File expires"):
            await place.uploader.files.create(
                b"x", filename="x.jsonl", purpose="batch", expires_after=7200
            )
        assert place.calls == []
        return
    await place.upload(expires_after=7200)
    forms = [asked.form for asked in place.imitation.asked] if place.imitation else []
    for form in filter(None, forms):
        if "file" in form.order:
            assert form.order == [
                *("purpose", "expires_after[anchor]", "expires_after[seconds]", "file")
            ]
            assert form.fields["expires_after[seconds]"] == "7200"


async def test_a_file_that_is_too_large_is_refused_before_anything_is_sent(place: Place) -> None:
    limits = place.preset.limits
    most = limits.largest(place.purpose, single=place.preset.uploads is False)
    if most is None:
        return  # no source says how much it takes: the server judges
    path = place.folder / "sparse.jsonl"
    with path.open("wb") as file:
        file.truncate(most + 1)
    with pytest.raises(TooLarge):
        await place.uploader.upload(path, purpose=place.purpose)
    assert place.calls == []


# --- what is known of single ones -----------------------------------------------------------


def at(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("place", [name], indirect=True)


@at("azure")
async def test_azures_file_is_pending_without_bytes_and_processed_when_looked_at(
    place: Place,
) -> None:
    file = await place.upload(method="files")
    assert (file.status, file.bytes) == ("processed", SIZE)
    assert place.imitation is not None
    asked = [(one.method, one.path) for one in place.imitation.asked]
    assert asked[-2:] == [("POST", "files"), ("GET", f"files/{file.id}")]


@at("azure")
async def test_azure_without_its_version_or_with_a_bearer_key_is_told(
    place: Place, tmp_path: Path
) -> None:
    assert place.imitation is not None
    for more, error in (({"query": {}}, NotFound), ({"auth": Auth.BEARER}, Unauthorized)):
        wrong: dict[str, Any] = {"preset": "azure", **_MORE["azure"], **more}
        async with AsyncUploader(
            base_url=place.imitation.url,
            api_key=KEY,
            journal=tmp_path / "other.db",
            options=HASTY,
            **wrong,
        ) as uploader:
            with pytest.raises(error):
                await uploader.files.retrieve("file-x")


@at("mistral")
async def test_a_list_that_is_asked_for_by_page_is_whole(place: Place) -> None:
    assert place.imitation is not None
    made = [
        place.imitation.make_file(b"x", filename=f"{n}.jsonl", purpose=place.purpose).values["id"]
        for n in range(250)
    ]
    assert [file.id async for file in place.uploader.files.list()] == made[::-1]


@at("mistral")
async def test_mistrals_list_without_bytes_still_finds_a_lost_file(place: Place) -> None:
    assert place.imitation is not None
    await place.upload()
    listed = [file async for file in place.uploader.files.list()]
    assert [file.bytes for file in listed] == [None]
    assert (await place.uploader.files.retrieve(listed[0].id)).bytes == SIZE


@at("openrouter")
async def test_openrouters_refusals_are_what_they_say(place: Place) -> None:
    assert place.imitation is not None
    place.imitation.most = 100
    with pytest.raises(Rejected, match="Request payload too large"):
        await place.upload()
    place.imitation.full = True
    (place.folder / "small").write_bytes(b"small")
    with pytest.raises((Rejected, OutOfQuota)) as caught:
        await place.uploader.upload(place.folder / "small", purpose="user_data")
    assert caught.value.answer is not None
    assert caught.value.answer.status == 403


@at("stdapi")
async def test_where_arrival_is_the_order_parts_go_one_after_another(place: Place) -> None:
    assert place.imitation is not None
    place.imitation.watched = True
    await place.upload()
    assert place.imitation.together == 1
    (upload,) = place.imitation.uploads.values()
    assert b"".join(upload.parts.values()) == (place.folder / "source").read_bytes()


@at("openai")
async def test_elsewhere_parts_go_side_by_side(place: Place) -> None:
    assert place.imitation is not None
    place.imitation.watched = True
    await place.upload()
    assert place.imitation.together > 1


# --- a server of somebody else with Uploads: no preset, but quirks that others may have too ----


@pytest.fixture
async def mockai(tmp_path: Path) -> AsyncIterator[Place]:
    async with (
        imitation("mockai") as server,
        AsyncUploader(
            base_url=server.url,
            api_key=KEY,
            journal=tmp_path / "journal.db",
            part_size=1000,
            options=HASTY,
        ) as uploader,
    ):
        yield Place(PRESETS["compatible"], uploader, tmp_path, imitation=server)


async def test_a_file_without_status_that_no_list_shows_is_taken(mockai: Place) -> None:
    file = await mockai.upload()
    assert (file.bytes, file.status) == (SIZE, None)
    assert mockai.imitation is not None
    assert mockai.imitation.files == {}


async def test_a_part_that_counts_twice_costs_an_upload_and_no_more(mockai: Place) -> None:
    server = mockai.imitation
    assert server is not None
    server.lost_parts = 1
    file = await mockai.upload()
    assert file.bytes == SIZE
    first, second = server.uploads.values()
    assert (first.status, second.status) == ("pending", "completed")
