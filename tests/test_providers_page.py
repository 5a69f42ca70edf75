"""docs/providers.md is what the presets say, and what tests really met of each provider.

    python tests/test_providers_page.py

writes it anew.
"""

from pathlib import Path
from typing import Final

from imitations import IMITATED, quoted

from chunkup.config import BUILT_IN
from chunkup.models import MIB
from chunkup.providers import COMPATIBLE, PRESETS
from chunkup.providers.dialect import Auth, Paging, Provider
from chunkup.text import size_text

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "providers.md"

# Programs of others that tests install and run here: what, and where that is tested.
REAL: Final = {
    "portkey": ("its open-source gateway, in front of the embedded server", "test_portkey.py"),
    "litellm": ("its proxy, when it is asked for (`CHUNKUP_LITELLM=1`)", "test_litellm.py"),
    "compatible": ("aimock, another server with /files", "test_aimock.py"),
}
# Two places of one provider.
SAME: Final = {"dashscope-intl": "dashscope"}

# Who has files of another kind, and where that was read (2026-11-21).
NO_PRESET: Final = (
    (
        "Together",
        "POST /files is a redirect and a PUT to storage; large files by signed addresses",
        "togethercomputer/together-python eba5e5f",
    ),
    (
        "Fireworks",
        "datasets with a protocol of their own",
        "Portkey-AI/gateway 669825c, its provider fireworks-ai",
    ),
    ("Anthropic", "a Files API of its own, not OpenAI's", "platform.claude.com/docs/en/api"),
    ("Gemini", "its OpenAI-compatible address has no files", "looked for"),
    ("vLLM", "no /v1/files: 404", "BerriAI/litellm issue 17996"),
    ("new-api", "files are unsupported", "new-api issue 2410"),
    ("DeepSeek, Volcengine, Nebius", "unknown: nothing was found about files", "looked for"),
)

HEAD: Final = """# Providers

What chunkup knows of each provider, where that was read, and what it was tested against. A
provider that is not here works as well if it does as OpenAI does: give its address with
`--base-url`. None of this was ever run against a real provider's own service.

Choose one by its name:

```sh
chunkup upload train.jsonl --purpose batch --profile mistral
chunkup profiles
```

Those marked with a star are profiles as they stand; their key comes from the variable named
here. For the others, or for other keys, write a profile into `config.toml`:

```toml
[profiles.lab]
preset = "litellm"
base_url = "https://lab.example/v1"
api_key = "env:LAB_KEY"
limits = { file = "200MB", purposes = { batch = "100MB" } }
method = "files"
```

`preset` brings the provider's address, key, limits and ways; whatever else stands there goes
before it. `limits` has `part`, `upload` (a file in parts), `file` (a file in one request) and
`purposes`. `method` is `auto`, `uploads` or `files`; `auth` is `bearer` or `api-key`; `query` is
added to every URL, as in `query = { api-version = "2024-10-21" }`.

## Azure

`--profile azure` needs nothing but Azure's own variables, which mean what they mean in OpenAI's
Python SDK:

| variable | means |
|---|---|
| `AZURE_OPENAI_ENDPOINT` | `https://NAME.openai.azure.com` |
| `OPENAI_API_VERSION` | with it the dated API (`?api-version=`), without it `/openai/v1` |
| `AZURE_OPENAI_API_KEY` | the key, sent as `api-key` |
| `AZURE_OPENAI_AD_TOKEN` | a token of Entra, sent as a Bearer token; goes before the key |

## All of them

"Here" says what stood for the provider in the tests. *Real*: a program of its makers or of
others ran on the test machine. *Imitated*: a server answered with bodies quoted from documents
or recordings, which lie in `tests/data/providers` with their sources. *Unknown*: no such body was
found; only the embedded server, which does as OpenAI does, was asked.

"""
TABLE: Final = (
    "| provider | preset | Uploads | largest file | a File's expiry | key from | here |\n"
    "|---|---|---|---|---|---|---|\n"
)


def page() -> str:
    rows = "".join(_row(preset) for preset in PRESETS.values())
    facts = "".join(_section(preset) for preset in PRESETS.values())
    absent = "".join(f"| {who} | {why} | {source} |\n" for who, why, source in NO_PRESET)
    return (
        HEAD
        + TABLE
        + rows
        + "\n## No preset, and why\n\n| who | why | read in |\n|---|---|---|\n"
        + absent
        + "\n## Each fact, and where it was read\n"
        + facts
    )


def _row(preset: Provider) -> str:
    star = " *" if preset.name in BUILT_IN else ""
    uploads = {True: "yes", False: "no: one request", None: "asked"}[preset.uploads]
    cells = (
        preset.title,
        f"`{preset.name}`{star}",
        uploads + (", one part after another" if preset.ordered else ""),
        _largest(preset),
        "can be asked" if preset.expires else "refused before sending",
        f"`{preset.key}`" if preset.key else "you name it",
        _here(preset),
    )
    return f"| {' | '.join(cells)} |\n"


def _largest(preset: Provider) -> str:
    limits = preset.limits
    said = []
    if preset.uploads is not False and limits.upload is not None:
        said.append(f"{_size(limits.upload)} in parts")
    if limits.file is not None:
        said.append(f"{_size(limits.file)} in one request")
    said += [f"{purpose} {_size(size)}" for purpose, size in limits.by_purpose]
    return ", ".join(said) or "unknown"


def _size(size: int) -> str:
    """As the sources write it: powers of two with their own units."""
    for unit, factor in (("GiB", 1 << 30), ("MiB", MIB)):
        if size % factor == 0:
            return f"{size // factor} {unit}"
    return size_text(size)


def _here(preset: Provider) -> str:
    name = SAME.get(preset.name, preset.name)
    said = []
    if preset.name in REAL:
        said.append(f"real: {REAL[preset.name][0]}")
    if name in IMITATED:
        calls = ", ".join(_calls(name))
        said.append(f"imitated: {calls}")
    return "; ".join(said) or "unknown"


def _calls(name: str) -> list[str]:
    """Which calls are answered from quoted bodies."""
    words = {
        "create": "Uploads",
        "post": "upload",
        "retrieve": "show",
        "list": "list",
        "delete": "delete",
    }
    answers = quoted(name)["answers"]
    refusals = any(answer["status"] >= 400 for answer in answers.values())
    return [word for call, word in words.items() if call in answers] + ["refusals"] * refusals


def _section(preset: Provider) -> str:
    if preset is COMPATIBLE:
        return ""
    lines = [f"\n### {preset.title}\n\n"]
    where = f"`{preset.base_url}`" if preset.base_url else "an address of your own"
    lines.append(f"At {where}; {_ways(preset)}.\n\n")
    if preset.purposes:
        lines.append(f"Purposes: {', '.join(f'`{one}`' for one in preset.purposes)}.\n\n")
    lines += [f"- {fact.says} ({fact.source}; {fact.read})\n" for fact in preset.facts]
    name = SAME.get(preset.name, preset.name)
    if name in IMITATED:
        answers = quoted(name)["answers"].values()
        sources = dict.fromkeys(f"{answer['source']}; {answer['read']}" for answer in answers)
        lines.append("\nImitated from:\n\n")
        lines += [f"- {source}\n" for source in sources]
    return "".join(lines)


def _ways(preset: Provider) -> str:
    key = "the key as `api-key`" if preset.auth is Auth.API_KEY else "the key as a Bearer token"
    lists = {
        Paging.CURSOR: "lists go on with `after`",
        Paging.PAGES: "lists go by page",
        Paging.WHOLE: "lists come whole",
    }
    return f"{key}; {lists[preset.paging]}"


def test_the_page_is_what_presets_and_bodies_say() -> None:
    assert PAGE.read_text("utf-8") == page(), "run: python tests/test_providers_page.py"


def test_what_is_said_to_be_real_is_tested() -> None:
    for name, (_, file) in REAL.items():
        assert name in PRESETS
        assert (TESTS / file).is_file()


def test_every_row_of_the_table_has_as_many_cells_as_its_head() -> None:
    text = PAGE.read_text("utf-8")
    for block in text.split("\n\n"):
        rows = [line for line in block.splitlines() if line.startswith("|")]
        assert len({row.count("|") for row in rows}) <= 1, block


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
