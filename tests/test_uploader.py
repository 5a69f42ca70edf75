"""The engine against the embedded server: the promises, one test each."""

from pathlib import Path

from house import House, make_source

from chunkup import events


async def test_file_arrives_whole_with_ordered_ids_and_md5(
    house: House, journal: Path, tmp_path: Path
) -> None:
    source = tmp_path / "a.jsonl"
    md5 = make_source(source, 10_500)
    seen: list[events.Event] = []
    async with house.uploader(journal) as uploader:
        file = await uploader.upload(source, purpose="batch", on_event=seen.append)
    assert file.bytes == 10_500
    assert file.filename == "a.jsonl"
    assert house.store.md5_of(file.id) == md5
    assert house.calls.count("part") == 11
    assert [type(event).__name__ for event in seen][-2:] == ["Completing", "Completed"]
