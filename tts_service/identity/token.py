"""A secret that says who calls.

    tts_0f3a9c51d27e_wYv8…             an id, which is no secret, and 256 random bits

The prefix lets scanners find tokens that went where they don't belong. The id finds the token's
record, so that one comparison decides. What is kept of a token is its SHA-256: so many random bits
can't be guessed from it, which spares the slow hashes that passwords need.
"""

import hashlib
import re
import secrets
from dataclasses import dataclass, field
from typing import Self

__all__ = ["TOKEN_ID_PATTERN", "Token"]

TOKEN_ID_PATTERN = r"[0-9a-f]{12}"

_ID_BYTES = 6
_SECRET_BYTES = 32
_TOKEN = re.compile(rf"tts_({TOKEN_ID_PATTERN})_[A-Za-z0-9_-]{{43}}")


@dataclass(frozen=True, slots=True)
class Token:
    """A token, as its holder has it.

    Attributes:
        id: finds its record.
        text: all of it; the secret.
    """

    id: str
    text: str = field(repr=False)

    @classmethod
    def make(cls) -> Self:
        """A new one, from the system's randomness."""
        token_id = secrets.token_hex(_ID_BYTES)
        return cls(token_id, f"tts_{token_id}_{secrets.token_urlsafe(_SECRET_BYTES)}")

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The token that is written so; None if no token is."""
        match = _TOKEN.fullmatch(text)
        return None if match is None else cls(match[1], text)

    @property
    def sha256(self) -> str:
        """What is kept of it, in hexadecimal digits."""
        return hashlib.sha256(self.text.encode("ascii")).hexdigest()
