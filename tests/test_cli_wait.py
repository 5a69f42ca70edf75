"""``upload --wait``: an id is printed when its File can be used."""

import pytest
from aiohttp import web
from house import Handler, House, call_of, make_source
from test_cli import Shell
from test_cli import shell as shell  # noqa: PLC0414  (the fixture)

STATES = ["uploaded", "pending", "running", "processed"]


def saying(house: House, states: list[str | None], details: str | None = None) -> None:
    """Have Files be in these states, look after look; None is not known yet."""
    left = list(states)

    async def play(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) not in {"complete", "post", "retrieve"}:
            return await handler(request)
        answer = await handler(request)
        if answer.status != 200:
            return answer
        state = left.pop(0) if len(left) > 1 else left[0]
        if state is None:
            return web.json_response({"error": {"message": "No such File"}}, status=404)
        assert isinstance(answer, web.Response)
        assert answer.text is not None
        text = answer.text.replace('"processed"', f'"{state}"')
        if details:
            text = text.replace('"status_details": null', f'"status_details": "{details}"')
        return web.json_response(text=text)

    house.intercept = play


@pytest.mark.parametrize("method", ["uploads", "files"])
async def test_the_id_comes_when_the_file_is_processed(
    shell: Shell, house: House, method: str
) -> None:
    make_source(shell.folder / "a.jsonl", 2500)
    # The first is the answer to complete itself, the second a File that is too fresh to be known.
    saying(house, ["uploaded", None, *STATES])
    done = await shell.run("upload", "a.jsonl", "-p", "user_data", "--wait", "--method", method)
    assert done.code == 0, done.err
    assert done.out.strip() == house.files[0].id
    assert house.calls.count("retrieve") >= 3


async def test_without_it_nothing_is_waited_for(shell: Shell, house: House) -> None:
    make_source(shell.folder / "a.jsonl", 2500)
    saying(house, ["uploaded"])
    done = await shell.run("upload", "a.jsonl", "-p", "user_data")
    assert done.code == 0, done.err
    assert "retrieve" not in house.calls


async def test_a_file_that_cannot_be_processed_is_named_and_the_others_go_on(
    shell: Shell, house: House
) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        make_source(shell.folder / name, 1500)
    saying(house, ["uploaded", "error"], details="line 3 is no object")
    done = await shell.run("upload", "a.jsonl", "b.jsonl", "-p", "user_data", "--wait")
    assert done.code == 1
    assert done.err.count("line 3 is no object") >= 1
    assert all(file.id in done.err for file in house.files)
    # The next command waits again, and prints what is ready by then.
    saying(house, ["processed"])
    again = await shell.run("upload", "a.jsonl", "b.jsonl", "-p", "user_data", "--wait")
    assert again.code == 0, again.err
    assert len(again.out.splitlines()) == 2
    assert len(house.files) == 2
