"""What people say and hear of a cut."""

from dataclasses import replace
from typing import Any

import click
import pytest
from click.testing import CliRunner
from strategies import plain_job

from chunkup.asked import Cut
from chunkup.cli.splitting import cut_text, split_options, take_split
from chunkup.models import Span, Split


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ([], None),
        (["--split"], Split()),
        (["--split-size", "100MB"], Split(size=100_000_000)),
        (["--split-lines", "7"], Split(lines=7)),
        (["--split", "--split-size", "1MiB", "--split-lines", "7"], Split(1 << 20, 7)),
    ],
)
def test_each_of_the_options_means_to_cut(words: list[str], wanted: Split | None) -> None:
    heard: list[object] = []

    @click.command()
    @split_options
    def command(**values: Any) -> None:
        heard.append(take_split(values))
        assert values == {}

    done = CliRunner().invoke(command, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert heard == [wanted]


@pytest.mark.parametrize("words", [["--split-size", "0"], ["--split-lines", "0"]])
def test_a_piece_of_nothing_is_refused(words: list[str]) -> None:
    @click.command()
    @split_options
    def command(**values: Any) -> None:
        take_split(values)

    assert CliRunner().invoke(command, words).exit_code == 2


def test_a_cut_says_how_many_how_large_and_what_a_loss_costs() -> None:
    job = replace(plain_job(), given="big\x1b.jsonl", span=Span(0, 300), lines=None)
    pieces = [
        replace(job, span=Span(0, 200), lines=1200),
        replace(job, span=Span(200, 300), lines=3),
    ]
    text = cut_text(Cut(job, pieces), at_risk=300)
    assert text == (
        "big\\x1b.jsonl: 1,203 lines in 2 pieces of at most 200 bytes; an Upload that is lost "
        "costs its piece, and all that are open at once at most 300 bytes"
    )
    assert cut_text(Cut(job, pieces[:1]), 0) == "big\\x1b.jsonl: 1,200 lines, one piece"
