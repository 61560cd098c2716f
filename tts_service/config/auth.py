"""The settings of who may call."""

from pathlib import Path

from pydantic import Field

from .group import Group

__all__ = ["AuthSettings"]


class AuthSettings(Group):
    """Who may call."""

    tokens_file: Path | None = Field(
        None,
        description="file of tokens, made by `tts-service tokens`; none: no token is asked for",
    )
    anonymous_on_network: bool = Field(
        False, description="whether anybody who reaches the server over a network may use it"
    )
