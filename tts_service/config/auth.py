"""The settings of who may call."""

from pydantic import Field

from .group import Group, OptionalPath

__all__ = ["AuthSettings"]


class AuthSettings(Group):
    """Who may call."""

    tokens_file: OptionalPath = Field(
        None,
        description="file of tokens, made by `tts-service tokens`; none: no token is asked for",
    )
    anonymous_on_network: bool = Field(
        False, description="whether anybody who reaches the server over a network may use it"
    )
