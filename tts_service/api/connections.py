"""What gRPC itself is told to hold connections to."""

from ..config import ConnectionSettings

__all__ = ["server_options"]

# A client that pings more often than every five minutes is sent away by default, and a client
# has to ping to notice a dead connection in the midst of a stream.
_CLIENT_PING_MS = 30_000
_KEEPALIVE_MS = 60_000
_PEER_TIMEOUT_S = 300.0
_FOREVER_MS = (1 << 31) - 1


def server_options(
    settings: ConnectionSettings, *, stall_limit_s: float
) -> tuple[tuple[str, int], ...]:
    """The options of a server that speaks to callers.

    gRPC refuses metadata beyond its hard limit, and between the soft limit and that some of it, at
    random, so that clients notice before all of their calls fail.
    """
    return (
        # Two servers on one port would share its callers without a word.
        ("grpc.so_reuseport", 0),
        ("grpc.max_allowed_incoming_connections", settings.limit),
        ("grpc.server_handshake_timeout_ms", round(settings.handshake_timeout_s * 1000)),
        ("grpc.max_concurrent_streams", settings.streams_limit),
        ("grpc.max_receive_message_length", settings.message_limit_bytes),
        ("grpc.max_metadata_size", settings.metadata_limit_bytes // 2),
        ("grpc.absolute_max_metadata_size", settings.metadata_limit_bytes),
        ("grpc.max_connection_age_ms", _ms(settings.age_s)),
        ("grpc.max_connection_age_grace_ms", round(settings.age_grace_s * 1000)),
        ("grpc.max_connection_idle_ms", _ms(settings.idle_s)),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", _CLIENT_PING_MS),
        *_keepalive(stall_limit_s),
    )


def _ms(seconds: float) -> int:
    """0 means never."""
    return round(seconds * 1000) or _FOREVER_MS


def _keepalive(stall_limit_s: float) -> tuple[tuple[str, int], ...]:
    """Options that notice connections whose other end is gone.

    gRPC gives the kernel the timeout as TCP_USER_TIMEOUT, too (gRFC A18), and Linux then also ends
    a connection whose reader is slow, though it does read. Who is too slow is for `stall_limit_s`
    to say, with a status, so the timeout is far longer.
    """
    return (
        ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", round((stall_limit_s + _PEER_TIMEOUT_S) * 1000)),
    )
