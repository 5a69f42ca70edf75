"""What one look found out, and how it is made fit to be shown to anybody."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from chunkup.text import printable

# Shorter ones are words of everyday, such as a header that says which provider is meant.
_WHOLE: Final = 8
# So much of a secret in a word of somebody else's makes that word a piece of it.
_PIECE: Final = 4
# How servers write a secret of which they hide a part.
_MASKED: Final = re.compile(r"\*\*|[xX•]{4}|\.{3}\w|…\w")
_HIDDEN: Final = "***"

# What a hint has to be to be pasted; those of errors are often sentences.
_COMMAND: Final = re.compile(
    r"(?:chunkup|chmod|mv|pip|openssl) .+|export \w+=\S*|unset(?: \w+)+", re.DOTALL
)

Fact = str | int | float | bool | None


def command(hint: str | None, otherwise: str) -> str:
    """The command in an error's hint, or another one where there is none in it."""
    for text in (hint or "", (hint or "").partition(": ")[2]):
        if _COMMAND.fullmatch(text):
            return text
    return otherwise


class State(StrEnum):
    """How a check went. Only ``FAIL`` makes the whole fail."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes:
        check: Its stable name.
        state: How it went; ``SKIP`` where something before it stood in the way.
        says: One sentence.
        hint: One line for a shell, for what went wrong.
        facts: What was found, for programs: times in seconds, sizes in bytes, moments in Unix
            seconds.
    """

    check: str
    state: State
    says: str
    hint: str | None = None
    facts: Mapping[str, Fact] = field(default_factory=dict)


class Veil:
    """What no finding may show: secrets, and who the user is.

    Args:
        secrets: Texts of which nothing may be seen.
        home: The user's own folder, which is shown as ``~``.
    """

    def __init__(self, secrets: Iterable[str], home: str | None) -> None:
        self._secrets = {secret.strip() for secret in secrets if secret.strip()}
        self._home = home.rstrip("/") if home else ""

    def finding(self, finding: Finding) -> Finding:
        """The same one, safe to show."""
        return replace(
            finding,
            says=self.text(finding.says),
            hint=None if finding.hint is None else self.text(finding.hint),
            facts={
                name: self.text(value) if isinstance(value, str) else value
                for name, value in finding.facts.items()
            },
        )

    def text(self, text: str) -> str:
        """Our own words, in which a secret stands only if somebody wrote it where none belongs."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            if len(secret) >= _WHOLE:
                text = text.replace(secret, _HIDDEN)
        if self._home:
            # Within quotes a shell would take the tilde for a letter.
            text = text.replace(f"'{self._home}/", "~/'")
            text = re.sub(rf"{re.escape(self._home)}(?![\w.-])", "~", text)
        return text

    def words(self, said: str, limit: int = 300) -> str:
        """Somebody else's words, without those that hold a piece of a secret.

        A server may repeat the key that it refuses, whole, in part, or with stars in it.
        """
        kept = [word if self._harmless(word) else _HIDDEN for word in said.split()]
        return printable(self.text(" ".join(kept)), limit)

    def _harmless(self, word: str) -> bool:
        if _MASKED.search(word):
            return False
        pieces = (word[at : at + _PIECE] for at in range(len(word) - _PIECE + 1))
        return not any(piece in secret for piece in pieces for secret in self._secrets)
