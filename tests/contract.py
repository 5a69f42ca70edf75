"""Where the official contract is: a cut of the provider's OpenAPI document, outside the project.

It is looked for in ``$CHUNKUP_CONTRACT``, then beside the checkout.
"""

import os
from pathlib import Path

import pytest


def contract_path() -> Path:
    """The contract's file; without it the tests that ask are skipped, a whole module too."""
    root = Path(__file__).resolve().parents[1]
    named = os.environ.get("CHUNKUP_CONTRACT")
    beside = root.parent / "shared" / "spec" / "openai-files-uploads.yaml"
    path = Path(named) if named else beside
    if not path.is_file():
        pytest.skip(
            "the OpenAPI contract is not here; name it in CHUNKUP_CONTRACT",
            allow_module_level=True,
        )
    return path
