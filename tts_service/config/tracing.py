"""The settings of tracing."""

import re

from pydantic import Field, field_validator

from .group import Group

__all__ = ["TracingSettings"]

# Without a user's name: settings are listed and logged, and have no secrets in such places.
_ENDPOINT = re.compile(r"https?://(\[[0-9a-fA-F:.]+\]|[^:/@\s]+)(:\d{1,5})?/?")


class TracingSettings(Group):
    """OpenTelemetry spans."""

    endpoint: str = Field(
        "",
        description="OTLP collector that takes spans by gRPC, http(s)://HOST:PORT; empty: no spans",
    )
    sample_ratio: float = Field(
        1.0, ge=0.0, le=1.0, description="share of calls traced, where the caller doesn't say"
    )

    @field_validator("endpoint")
    @classmethod
    def _is_endpoint(cls, value: str) -> str:
        if value and _ENDPOINT.fullmatch(value) is None:
            raise ValueError("is written http://HOST:PORT or https://HOST:PORT")
        return value
