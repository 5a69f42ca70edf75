"""How jobs are called."""

import secrets
from typing import Final

# Without 0, o, 1, l and i: an id is read aloud and typed.
_ALPHABET: Final = "23456789abcdefghjkmnpqrstuvwxyz"


def new_id() -> str:
    """A fresh id of six letters and digits, some of each, so that it is no word and no number."""
    while True:
        made = "".join(secrets.choice(_ALPHABET) for _ in range(6))
        if not made.isalpha() and not made.isdigit():
            return made
