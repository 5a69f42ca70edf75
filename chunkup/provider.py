"""What differs between providers, as data.

The only file that knows a provider by name.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from chunkup.models import GIB, MIB, PART_SIZE, Limits


class Auth(StrEnum):
    """How a key is sent."""

    BEARER = "bearer"
    API_KEY = "api-key"


class Paging(StrEnum):
    """How a list of Files is asked for."""

    CURSOR = "cursor"
    PAGES = "pages"
    WHOLE = "whole"


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that a provider does, where that is written, and when it was read (ISO date).

    ``about`` is the attribute of :class:`Provider` that follows from it, or ``quirk`` for what
    the client does for everybody anyway.
    """

    about: str
    says: str
    source: str
    read: str


@dataclass(frozen=True, slots=True)
class Provider:
    """One provider's ways; what it does not say is what OpenAI does.

    Attributes:
        name: What a profile's ``preset`` calls it.
        base_url: Where it is unless somebody says otherwise; None where everybody has his own.
        limits: What it takes.
        hosts: Names of its hosts; one that begins with a dot stands for all that end so.
        auth: How a key is sent.
        query: Added to every request's URL.
        uploads: Whether it has Uploads; None if it has to be asked.
        purposes: The purposes that it names; empty where it takes any.
        expires: Whether a File's expiry may be asked for.
        paging: How its list of Files is asked for.
        stamps: Whether a File has the very moment of creation that its Upload has, as all public
            recordings of the official API show. Other servers may, and may take the moment at
            which the File is made.
        facts: Where all this is from.
    """

    name: str
    base_url: str | None
    limits: Limits
    hosts: tuple[str, ...] = ()
    auth: Auth = Auth.BEARER
    query: tuple[tuple[str, str], ...] = ()
    uploads: bool | None = None
    purposes: tuple[str, ...] = ()
    expires: bool = True
    paging: Paging = Paging.CURSOR
    stamps: bool = False
    facts: tuple[Fact, ...] = ()


OFFICIAL: Final = "https://api.openai.com/v1"
_READ: Final = "2026-11-21"

OPENAI: Final = Provider(
    name="openai",
    base_url=OFFICIAL,
    limits=Limits(
        part=PART_SIZE, upload=8 * GIB, file=512 * MIB, by_purpose=(("batch", 200 * 10**6),)
    ),
    hosts=(".api.openai.com",),
    uploads=True,
    stamps=True,
    facts=(
        # "8 GB" is nowhere defined; the larger reading is the one to refuse beyond.
        Fact("limits", "8 GB an Upload, 64 MB a part", "API reference", _READ),
        Fact("limits", "512 MB a File in one request", "API reference", _READ),
        Fact("limits", "batch files of 200 MB", "API reference", _READ),
        Fact("stamps", "a File has its Upload's created_at", "recordings of its .NET SDK", _READ),
    ),
)
COMPATIBLE: Final = replace(
    OPENAI, name="compatible", base_url=None, hosts=(), uploads=None, stamps=False, facts=()
)

PRESETS: Final = {provider.name: provider for provider in (OPENAI, COMPATIBLE)}


# text/jsonl: recorded from the real API. The others: its table for file search, 2026-11-21.
MIME_TYPES: Final = {
    ".jsonl": "text/jsonl",
    ".c": "text/x-c",
    ".cpp": "text/x-c++",
    ".cs": "text/x-csharp",
    ".css": "text/css",
    ".doc": "application/msword",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".go": "text/x-golang",
    ".html": "text/html",
    ".java": "text/x-java",
    ".js": "text/javascript",
    ".json": "application/json",
    ".md": "text/markdown",
    ".pdf": "application/pdf",
    ".php": "text/x-php",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".py": "text/x-python",
    ".rb": "text/x-ruby",
    ".sh": "application/x-sh",
    ".tex": "text/x-tex",
    ".ts": "application/typescript",
    ".txt": "text/plain",
}


def provider_at(host: str) -> Provider:
    """Who answers at a host; somebody compatible if nobody is known to."""
    name = f".{host.lower()}"
    for provider in PRESETS.values():
        if any(name.endswith(f".{known.removeprefix('.')}") for known in provider.hosts):
            return provider
    return COMPATIBLE
