"""The page of all findings says what the code says."""

from pathlib import Path
from typing import Final

from chunkup.providers import OPENAI, PRESETS
from chunkup.records import CODES, Code
from chunkup.text import size_text

PAGE: Final = Path(__file__).parent.parent / "docs" / "checks.md"

HEAD: Final = """# What a check finds

`chunkup check PATH --purpose P`, and every upload before it sends anything, read a file of records
once and say what is wrong with it: the code, the line, the byte of the file at which that line
begins, and a sentence. An error is what the server surely refuses, often an hour later; a warning
is worth a look, and stops nothing. `--no-check` leaves the check away.

```text
train.jsonl:17: error[duplicate_custom_id]: custom_id "r-4" is on line 9 as well (byte 20183)
```

Where the server has a name for it, the code is the server's: they are those of `errors.data` of a
batch that failed. The ones of fine-tuning are from OpenAI's cookbook. What it is that a provider
takes, its limits among it, is in [providers.md](providers.md).

`chunkup check PATH --purpose P --fix` writes a new file in which all is mended that can be without
a loss and without knowing what was meant; a last newline comes as well, if there is none. Ids that
had to be made are in a mapping file beside it. The rest is for a person.

"""

FORMATS: Final = """The first example says which format the file has: chat (`messages`), completions
(`prompt`, `completion`), preference (`input` and two outputs) or reinforcement (`messages` that end
with the user). Pictures, sound and tools are taken as they are."""

GROUPS: Final = (
    ("Of any file", (), "What can be said without reading it, and of a cut."),
    (
        "Of any line",
        ("batch", "fine-tune", "evals"),
        "For the purposes `batch`, `fine-tune` and `evals`. Files of other purposes are not read.",
    ),
    ("Of a batch", ("batch",), "One request a line: `custom_id`, `method`, `url` and `body`."),
    (
        "Of fine-tuning examples",
        ("fine-tune",),
        FORMATS,
    ),
)


def page() -> str:
    text = HEAD
    for title, purposes, about in GROUPS:
        text += (
            f"## {title}\n\n{about}\n\n| code | what is wrong | | `--fix` |\n|---|---|---|---|\n"
        )
        text += "".join(_row(name, code) for name, code in CODES.items() if _in(code, purposes))
        text += "\n"
    return text + _tail()


def _in(code: Code, purposes: tuple[str, ...]) -> bool:
    # What a batch and a fine-tuning file have in common stands with the batch.
    own = code.purposes if code.purposes != ("batch", "fine-tune") else ("batch",)
    return own == purposes


def _row(name: str, code: Code) -> str:
    return f"| `{name}` | {code.says} | {code.error} | {code.mends or '-'} |\n"


def _tail() -> str:
    limits = OPENAI.limits
    most = dict(limits.records)["batch"]
    size = size_text(dict(limits.by_purpose)["batch"])
    urls = ", ".join(f"`{url}`" for url in OPENAI.endpoints)
    short = ", ".join(one.title for one in PRESETS.values() if not one.requests)
    return (
        "## Which rules hold where\n\n"
        f"OpenAI takes batches of {size}, {most:,} requests and {limits.inputs:,} inputs of "
        "embeddings, all of one\nmodel, for one url of these:\n"
        f"{urls}.\n"
        "Of other providers it is not known which urls they take: there another one is a warning.\n"
        f"At {short} a line has only `custom_id` and `body`.\n\n"
        "A blank line counts as none, and a cut leaves it with the record before it. Of two "
        "members of one\nname the last one counts, as it does for most programs.\n"
    )


def test_the_page_is_what_the_code_says() -> None:
    assert PAGE.read_text("utf-8") == page(), "run: python tests/test_records_page.py"


def test_every_code_is_on_the_page_once() -> None:
    text = page()
    for name in CODES:
        assert text.count(f"| `{name}` |") == 1


def test_every_row_of_a_table_has_as_many_cells_as_its_head() -> None:
    for block in page().split("\n\n"):
        rows = [line for line in block.splitlines() if line.startswith("|")]
        assert len({row.count("|") for row in rows}) <= 1, block


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
