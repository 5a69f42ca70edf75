"""What rows about Uploads and rows about Files share: sources, and findings that are alike."""

from typing import Final

from chunkup.probe.words import Finding

PAGES: Final = "API reference"
SEEN: Final = "recordings of its .NET SDK"
NOBODY: Final = "nobody has published it"

EITHER: Final = "is ready for either"
_STRICT_NAME: Final = "takes a File of another name for a wrong one; --filename gives a plain one"
NAMES: Final = {
    "kept": Finding("The name comes back as it was sent.", "compares it"),
    "spelled": Finding("The name comes back as a form spells it.", "takes both for the same"),
    "changed": Finding("The server changes the name.", _STRICT_NAME),
    "refused": Finding("The server refuses the name.", "says so; --filename gives a plain one"),
}
LIVES: Final = {
    "kept": Finding("The File ends when it was asked to.", "passes --expires-after on"),
    "ignored": Finding("An expiry is taken and not kept.", "shows the expires_at that is told"),
    "refused": Finding("An expiry is refused.", "passes the refusal on; leave --expires-after out"),
}


def answers(yes: str, no: str, *, then: tuple[str, str]) -> dict[str, Finding]:
    """The findings of a question that is answered by yes or no."""
    return {"taken": Finding(yes, then[0]), "refused": Finding(no, then[1])}
