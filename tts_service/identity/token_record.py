"""What the server knows of a token."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from .scope import Scope
from .token import TOKEN_ID_PATTERN

__all__ = ["NAME_PATTERN", "RecordError", "TokenRecord", "TokenState"]

NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"


class RecordError(ValueError):
    """A line that is no record. The text says why, and repeats no value of it."""


class TokenState(StrEnum):
    """Whether a token is of use."""

    VALID = "valid"
    EXPIRED = "expired"
    REVOKED = "revoked"


class TokenRecord(BaseModel):
    """A line of the tokens' file.

    Attributes:
        id: the token's.
        name: who holds it; several tokens may have one holder.
        sha256: of the whole token.
        scopes: what it allows.
        created: when it was made.
        expires: from when on it is of no use; None: never.
        revoked: whether it was taken back.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=f"^{TOKEN_ID_PATTERN}$")
    name: str = Field(pattern=f"^{NAME_PATTERN}$")
    sha256: str = Field(pattern="^[0-9a-f]{64}$", repr=False)
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1)]
    created: AwareDatetime
    expires: AwareDatetime | None = None
    revoked: bool = False

    @classmethod
    def parse(cls, line: str) -> "TokenRecord":
        """Reads a line.

        Raises:
            RecordError: it isn't one.
        """
        try:
            return cls.model_validate_json(line)
        except ValidationError as error:
            detail = error.errors(include_input=False, include_url=False)[0]
            place = ".".join(str(part) for part in detail["loc"])
            raise RecordError(f"{place}: {detail['msg']}" if place else detail["msg"]) from None

    def line(self) -> str:
        """As it stands in the file."""
        return f"{self.model_dump_json()}\n"

    def state(self, now: datetime) -> TokenState:
        """Whether the token is of use at a time."""
        if self.revoked:
            return TokenState.REVOKED
        if self.expires is not None and now >= self.expires:
            return TokenState.EXPIRED
        return TokenState.VALID
