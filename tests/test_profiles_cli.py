"""`chunkup profiles`, and places that need nothing but their own variables."""

import json
from pathlib import Path

import pytest
from imitations import Imitation, imitation
from test_cli import Shell
from test_cli import shell as shell  # noqa: PLC0414  (a fixture is exported by its name)

CANARY = "canary-5up3r53cr37"
# A token of Entra is a JWT, and begins so.
TOKEN = f"eyJ{CANARY}"
FILE = """
[profiles.lab]
base_url = "https://lab.example/v1"
api_key = "env:LAB_KEY"

[profiles.mistral]
preset = "mistral"
api_key = "env:MINE"

[profiles.broken]
preset = "mistrall"
"""


@pytest.fixture
def written(shell: Shell) -> Path:
    path = shell.folder / "config.toml"
    path.write_text(FILE)
    shell.environ |= {"CHUNKUP_CONFIG": str(path), "LAB_KEY": CANARY, "GROQ_API_KEY": CANARY}
    return path


async def test_profiles_tell_the_address_the_keys_variable_and_never_the_key(
    shell: Shell, written: Path
) -> None:
    seen = await shell.run("profiles")
    assert seen.code == 0
    rows = [line.split("  ") for line in seen.out.splitlines()]
    table = {row[0]: [cell.strip() for cell in row if cell] for row in rows}
    assert list(table)[:4] == ["PROFILE", "lab", "mistral", "broken"]
    assert table["lab"] == ["lab", "https://lab.example/v1", "LAB_KEY", "-", str(written)]
    assert table["mistral"][2:4] == ["MINE (not set)", "mistral"]
    assert table["groq"][1:] == [
        "https://api.groq.com/openai/v1",
        "GROQ_API_KEY",
        "groq",
        "built-in",
    ]
    assert "broken: [profiles.broken]" in seen.err
    assert "preset is to be one of" in seen.err
    assert "AZURE_OPENAI_ENDPOINT" in seen.err
    assert CANARY not in seen.out + seen.err


async def test_as_json_each_is_an_object(shell: Shell, written: Path) -> None:
    more = {"AZURE_OPENAI_ENDPOINT": "https://r.openai.azure.com", "AZURE_OPENAI_API_KEY": CANARY}
    seen = await shell.run("profiles", "--json", **more)
    found = {one["name"]: one for one in map(json.loads, seen.out.splitlines())}
    assert found["lab"] == {
        "name": "lab",
        "base_url": "https://lab.example/v1",
        "api_key": "LAB_KEY",
        "set": True,
        "preset": None,
        "source": str(written),
        "problem": None,
    }
    assert found["azure"]["base_url"] == "https://r.openai.azure.com/openai/v1"
    assert (found["azure"]["api_key"], found["azure"]["set"]) == ("AZURE_OPENAI_API_KEY", True)
    assert found["broken"]["problem"]
    assert CANARY not in seen.out + seen.err


async def test_a_file_that_cannot_be_read_is_one_sentence(shell: Shell, written: Path) -> None:
    written.write_text("no TOML")
    seen = await shell.run("profiles")
    assert seen.code == 2
    assert seen.err.startswith("error[bad-option]: ")


def azures(server: Imitation, **more: str) -> dict[str, str]:
    """Azure's own variables, and nothing else that a command could go by."""
    return {
        "AZURE_OPENAI_ENDPOINT": server.url.removesuffix("/v1"),
        "OPENAI_API_VERSION": "2024-10-21",
        "OPENAI_API_KEY": "",
        "OPENAI_BASE_URL": "",
        "CHUNKUP_PROFILE": "azure",
        **more,
    }


@pytest.mark.parametrize(
    ("more", "header", "value"),
    [
        ({"AZURE_OPENAI_API_KEY": CANARY}, "api-key", CANARY),
        (
            {"AZURE_OPENAI_API_KEY": CANARY, "AZURE_OPENAI_AD_TOKEN": TOKEN},
            *("authorization", f"Bearer {TOKEN}"),
        ),
    ],
    ids=["key", "token"],
)
async def test_azure_needs_its_own_variables_and_nothing_else(
    shell: Shell, more: dict[str, str], header: str, value: str
) -> None:
    async with imitation("azure") as server:
        seen = await shell.run(
            "upload", "a.bin", "-p", "user_data", "--part-size", "1000", **azures(server, **more)
        )
        assert seen.code == 0, seen.err
        file_id = seen.out.strip()
        assert server.files[file_id].content == (shell.folder / "a.bin").read_bytes()
        assert {one.path.split("/")[0] for one in server.asked} >= {"uploads"}
        for asked in server.asked:
            assert asked.headers[header] == value
            assert asked.query["api-version"] == "2024-10-21"
    assert CANARY not in seen.out + seen.err
    assert shell.house.calls == []


async def test_azure_without_a_key_names_the_variable(shell: Shell) -> None:
    async with imitation("azure") as server:
        seen = await shell.run("upload", "a.bin", "-p", "user_data", **azures(server))
        assert server.asked == []
    assert seen.code == 2
    assert "AZURE_OPENAI_API_KEY, which is not set" in seen.err
    assert "export AZURE_OPENAI_API_KEY=..." in seen.err


async def test_commands_that_go_on_at_azure_name_the_profile(shell: Shell) -> None:
    async with imitation("azure") as server:
        variables = azures(server, AZURE_OPENAI_API_KEY=CANARY)
    seen = await shell.run("upload", "a.bin", "-p", "user_data", **variables)
    assert seen.code == 75
    assert "--profile azure" in seen.err
    (job_id,) = await shell.jobs()
    # The journal keeps addresses and no profiles: who asks later is told the same.
    seen = await shell.run("show", job_id, **{**variables, "CHUNKUP_PROFILE": ""})
    assert "--profile azure" in seen.out


async def test_a_known_provider_is_a_profile_with_its_own_key(shell: Shell) -> None:
    seen = await shell.run("upload", "a.bin", "-p", "user_data", "--profile", "groq")
    assert seen.code == 2
    assert "GROQ_API_KEY, which is not set" in seen.err
    shell.environ["GROQ_API_KEY"] = CANARY
    seen = await shell.run(
        *("upload", "a.bin", "-p", "user_data", "--profile", "groq", "--expires-after", "2h")
    )
    assert seen.code == 2
    assert "Groq lets nobody choose when a File expires" in seen.err
    assert CANARY not in seen.out + seen.err


async def test_limits_of_a_profile_lower_those_of_its_preset(shell: Shell) -> None:
    path = shell.folder / "config.toml"
    path.write_text(
        '[profiles.tight]\npreset = "groq"\napi_key = "env:K"\nlimits = { file = "1kB" }\n'
    )
    seen = await shell.run(
        *("upload", "a.bin", "-p", "user_data", "--profile", "tight"),
        CHUNKUP_CONFIG=str(path),
        K=CANARY,
    )
    assert seen.code == 2
    assert "more than the 1 kB" in seen.err
