"""All tokens that the server knows of, by their ids."""

import hmac
from collections.abc import Iterable
from datetime import datetime

from .token import Token
from .token_record import TokenRecord

__all__ = ["TokenTable"]

# An unknown id costs the same comparison as a known one.
_NOBODYS_SHA256 = "0" * 64


class TokenTable:
    """Finds the record of a token. Does not change.

    Args:
        records: with ids that differ.
    """

    def __init__(self, records: Iterable[TokenRecord]) -> None:
        self._records = {record.id: record for record in records}

    def __len__(self) -> int:
        return len(self._records)

    def find(self, token: Token) -> TokenRecord | None:
        """The record of this very token, in whatever state it is; None if nobody made it."""
        record = self._records.get(token.id)
        kept = _NOBODYS_SHA256 if record is None else record.sha256
        return record if hmac.compare_digest(kept, token.sha256) else None

    def usable_count(self, now: datetime) -> int:
        """How many could be used at a time."""
        return sum(record.state(now) == "valid" for record in self._records.values())
