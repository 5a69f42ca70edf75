"""The profile that Azure's own variables describe.

They mean what they mean in openai-python 3.52.0 (``lib/azure.py``, read 2026-11-21): with
``OPENAI_API_VERSION`` the dated API, whose requests all carry it, and a token goes before a key.
Without a version that SDK refuses; here it is the v1 API, which needs none.
"""

from collections.abc import Mapping
from typing import Final

from chunkup.errors import BadOption
from chunkup.profile import Profile
from chunkup.providers.dialect import Auth
from chunkup.providers.presets import AZURE, AZURE_V1

ENDPOINT: Final = "AZURE_OPENAI_ENDPOINT"
VERSION: Final = "OPENAI_API_VERSION"
_TOKEN: Final = "AZURE_OPENAI_AD_TOKEN"  # noqa: S105  (a variable's name)
_KEY: Final = "AZURE_OPENAI_API_KEY"


def azure(environ: Mapping[str, str]) -> Profile:
    """Where these variables point, and as whom; the key itself is looked up when it is used.

    Raises:
        BadOption: They say no address.
    """
    endpoint = environ.get(ENDPOINT, "").strip().rstrip("/")
    if not endpoint:
        raise BadOption(
            f"the profile azure is where {ENDPOINT} says, which is not set",
            hint=f"export {ENDPOINT}=https://NAME.openai.azure.com",
        )
    # Portals show the address with more or less of its path.
    for known in ("/v1", "/openai"):
        endpoint = endpoint.removesuffix(known)
    version = environ.get(VERSION, "").strip()
    token = bool(environ.get(_TOKEN, "").strip())
    return Profile(
        AZURE.name,
        base_url=f"{endpoint}/openai" if version else f"{endpoint}/openai/v1",
        preset=AZURE.name if version else AZURE_V1.name,
        api_key=_TOKEN if token else _KEY,
        auth=Auth.BEARER if token else Auth.API_KEY,
        query=(("api-version", version),) if version else (),
    )
