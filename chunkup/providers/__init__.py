"""What differs between providers, as data, and who is where.

The only folder that knows a provider by name. A preset is chosen by its name, or by the host of
the base URL.
"""

from typing import Final

from chunkup.providers.dialect import Auth, Fact, Paging, Provider
from chunkup.providers.presets import AZURE, AZURE_V1, COMPATIBLE, GATEWAYS, OFFICIAL, OPENAI
from chunkup.providers.vendors import VENDORS

__all__ = [
    "COMPATIBLE",
    "MIME_TYPES",
    "OFFICIAL",
    "OPENAI",
    "PRESETS",
    "REPEATS",
    "Auth",
    "Fact",
    "Paging",
    "Provider",
    "provider_at",
]

PRESETS: Final = {
    provider.name: provider
    for provider in (OPENAI, COMPATIBLE, AZURE, AZURE_V1, *GATEWAYS, *VENDORS)
}

# Headers in which gateways count how often they repeated a request by themselves: 0 is not at all.
# Portkey's gateway 1.15.2, as it ran here; -1 there is "more often, in vain".
REPEATS: Final = ("x-portkey-retry-attempt-count",)

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
    name = f".{host.lower().removesuffix('.')}"
    for provider in PRESETS.values():
        for known in provider.hosts:
            # As a user may have several: one that begins with a dot stands for all below it.
            if name == f".{known}" or (known.startswith(".") and name.endswith(known)):
                return provider
    return COMPATIBLE
