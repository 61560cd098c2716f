"""The settings of connections, of the calls on them, and of their end."""

from pydantic import Field

from .group import Group

__all__ = ["ConnectionSettings"]


class ConnectionSettings(Group):
    """Connections and calls: how many, how large, how long."""

    limit: int = Field(
        1000, ge=1, le=1_000_000, description="connections at the same time; others are closed"
    )
    handshake_timeout_s: float = Field(
        20.0, ge=0.1, le=600.0, description="how long TLS and HTTP/2 may take to begin"
    )
    streams_limit: int = Field(
        256, ge=1, le=1_000_000, description="calls on one connection; further ones wait in line"
    )
    message_limit_bytes: int = Field(
        4 << 20, ge=1 << 20, le=1 << 30, description="of a message that is received"
    )
    metadata_limit_bytes: int = Field(
        16 << 10, ge=1 << 10, le=1 << 20, description="of a call's metadata"
    )
    call_limit_s: float = Field(
        600.0,
        gt=0.0,
        le=86_400.0,
        description="how long a call may take, whatever its deadline; uploads have their own",
    )
    age_s: float = Field(
        3600.0,
        ge=0.0,
        le=1e6,
        description="when a client is asked to connect anew, give or take a tenth; 0: never",
    )
    age_grace_s: float = Field(
        600.0, ge=0.0, le=86_400.0, description="how long calls on such a connection may go on"
    )
    idle_s: float = Field(
        900.0, ge=0.0, le=1e6, description="when a connection without calls is ended; 0: never"
    )
    drain_delay_s: float = Field(
        0.0,
        ge=0.0,
        le=600.0,
        description="how long new calls are still taken after SIGTERM, health being down already",
    )
