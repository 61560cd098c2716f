"""How a client connects: retries and keepalive, in the terms of gRPC's channel options."""

import json
from dataclasses import dataclass

_SERVICE = "tts.v1.TextToSpeech"
# gRPC clamps to this (https://github.com/grpc/proposal/blob/master/A6-client-retries.md).
_MAX_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a call is tried again, by gRPC itself (gRFC A6), or by the client for an upload.

    UNAVAILABLE and RESOURCE_EXHAUSTED are retried, an upload after UNAVAILABLE alone, and only
    while nothing has been received: from the header on a text is never spoken twice. Waits grow
    from `initial_backoff_ms` by `backoff_multiplier` up to `max_backoff_ms`, with jitter. A server
    that sends `grpc-retry-pushback-ms` sets the wait itself, or forbids the retry. The deadline of
    the call covers all attempts.

    max_attempts: how often a call is sent at the most, 1 (never again) to 5.
    """

    max_attempts: int = 4
    initial_backoff_ms: int = 200
    max_backoff_ms: int = 5_000
    backoff_multiplier: float = 2.0

    def __post_init__(self) -> None:
        if not 1 <= self.max_attempts <= _MAX_ATTEMPTS:
            raise ValueError(f"max_attempts must be 1 to {_MAX_ATTEMPTS}")
        if not 0 < self.initial_backoff_ms <= self.max_backoff_ms:
            raise ValueError("initial_backoff_ms must be above 0 and at most max_backoff_ms")
        if not self.backoff_multiplier >= 1:
            raise ValueError("backoff_multiplier must be at least 1")

    def service_config(self) -> str:
        """The policy as gRPC's service config, a JSON document."""
        every: dict[str, object] = {"name": [{"service": _SERVICE}]}
        # gRPC keeps 256 KiB of a call for its retries, and so could repeat small uploads only. When
        # a server refuses a large one, grpcio 1.80 even aborts the process ("ILLEGAL STATE:
        # FORWARDED_BATCH" in promise_based_filter.cc). `tts_client.upload` repeats them all.
        upload = {"name": [{"service": _SERVICE, "method": "UploadVoice"}]}
        if self.max_attempts > 1:
            every["retryPolicy"] = {
                "maxAttempts": self.max_attempts,
                "initialBackoff": f"{self.initial_backoff_ms / 1000:.3f}s",
                "maxBackoff": f"{self.max_backoff_ms / 1000:.3f}s",
                "backoffMultiplier": self.backoff_multiplier,
                "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
            }
        return json.dumps({"methodConfig": [every, upload]})


def channel_options(retry: RetryPolicy) -> list[tuple[str, str | int]]:
    """The options of every channel of this package, for grpc and grpc.aio alike.

    The keepalive finds a server that vanished in the middle of a call within 80 s. More frequent
    pings are refused by servers as abuse.
    """
    return [
        ("grpc.service_config", retry.service_config()),
        ("grpc.enable_retries", 1),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
    ]
