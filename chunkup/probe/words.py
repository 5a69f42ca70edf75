"""Questions and answers as values: every question is one row of data."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from chunkup.probe.bench import Bench

# What any question may end with: it was asked and cannot be told, or there was no sense in asking.
UNCLEAR: Final = "unclear"
SKIPPED: Final = "skipped"


class Standing(StrEnum):
    """How sure it is what the official API does."""

    DOCUMENTED = "documented"
    RECORDED = "recorded"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Official:
    """What the official API does, and where that is written.

    Attributes:
        standing: Whether it says so itself, was recorded doing so, or neither.
        source: Where.
        findings: The words that agree with it; empty where nothing is known.
    """

    standing: Standing
    source: str
    findings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.standing is Standing.UNKNOWN) == bool(self.findings):
            raise ValueError("what is unknown expects nothing, and all else something")


def documented(source: str, *findings: str) -> Official:
    """The API's own pages say so."""
    return Official(Standing.DOCUMENTED, source, findings)


def recorded(source: str, *findings: str) -> Official:
    """Published recordings of the real API show so."""
    return Official(Standing.RECORDED, source, findings)


def unknown(source: str) -> Official:
    """Nobody has said; ``source`` is the nearest there is."""
    return Official(Standing.UNKNOWN, source)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that may turn out, as a sentence, and what chunkup does because of it."""

    says: str
    therefore: str


@dataclass(frozen=True, slots=True)
class Found:
    """What turned out: the word of a finding, and what was seen."""

    word: str
    seen: str = ""


Ask = Callable[["Bench"], Awaitable[Found]]


@dataclass(frozen=True, slots=True)
class Question:
    """One row.

    Attributes:
        name: Short, in kebab-case.
        asks: The question as a person would put it.
        ask: How it is asked.
        findings: What may turn out, by its word.
        official: What the official API does.
        needs: Another question, and the words of its findings without which this makes no sense.
        alone: Asked when nothing else is, since others' Files would be in its way.
        large: Sends 64 MiB, and so is only asked by whoever wants that.
    """

    name: str
    asks: str
    ask: Ask
    findings: dict[str, Finding]
    official: Official
    needs: tuple[str, frozenset[str]] | None = None
    alone: bool = False
    large: bool = False

    def __post_init__(self) -> None:
        if strange := set(self.official.findings) - set(self.findings):
            raise ValueError(f"{self.name} expects what it cannot find: {sorted(strange)}")


@dataclass(frozen=True, slots=True)
class Answered:
    """A question with what turned out."""

    question: Question
    found: Found

    @property
    def says(self) -> str:
        """The fact as a sentence."""
        if self.found.word == SKIPPED:
            return f"{self.question.asks} It was not asked."
        known = self.question.findings.get(self.found.word)
        return known.says if known else f"{self.question.asks} It cannot be told."

    @property
    def therefore(self) -> str:
        """What chunkup does because of it."""
        known = self.question.findings.get(self.found.word)
        return known.therefore if known else "is ready for either"

    @property
    def agrees(self) -> bool | None:
        """Whether it is what the official API does; None where nobody knows one of the two."""
        expected = self.question.official.findings
        if not expected or self.found.word in {SKIPPED, UNCLEAR}:
            return None
        return self.found.word in expected
