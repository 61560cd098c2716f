"""Whether and when a call is made again that gRPC itself cannot repeat."""

import random
import time
from collections.abc import Callable

import grpc

from tts_client.channel import RetryPolicy
from tts_client.errors import Unavailable
from tts_client.status import to_tts_error

_PUSHBACK_KEY = "grpc-retry-pushback-ms"
# gRFC A6: each wait is drawn from this share around its nominal length.
_JITTER = 0.2


class Attempts:
    """The attempts of one call, from its making on.

    It follows `RetryPolicy` as gRPC does, and never waits less than the server's
    `google.rpc.RetryInfo` says.
    """

    def __init__(
        self,
        policy: RetryPolicy,
        timeout_s: float | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._policy = policy
        self._clock = clock
        self._end_s = None if timeout_s is None else clock() + timeout_s
        self._failed_count = 0

    @property
    def remaining_s(self) -> float | None:
        """What is left of the time for all attempts; None without a limit."""
        return None if self._end_s is None else max(0.0, self._end_s - self._clock())

    def wait_s(self, error: grpc.RpcError) -> float | None:
        """How long to wait until the next attempt; None if there is not to be one.

        error: what the last attempt ended with.
        """
        self._failed_count += 1
        failure = to_tts_error(error)
        if not isinstance(failure, Unavailable) or self._failed_count >= self._policy.max_attempts:
            return None
        pushback = _pushback(error)
        if pushback is None:
            wait_s = max(self._backoff_s(), failure.retry_after_s or 0.0)
        elif pushback.isdecimal():
            wait_s = int(pushback) / 1000
        else:
            return None
        remaining_s = self.remaining_s
        return wait_s if remaining_s is None or wait_s < remaining_s else None

    def _backoff_s(self) -> float:
        policy = self._policy
        growth = policy.backoff_multiplier ** (self._failed_count - 1)
        nominal_ms = min(policy.initial_backoff_ms * growth, policy.max_backoff_ms)
        return nominal_ms / 1000 * random.uniform(1 - _JITTER, 1 + _JITTER)


def _pushback(error: grpc.RpcError) -> str | None:
    """The wait in milliseconds that the server dictates; what is no number forbids the retry."""
    for entry in error.trailing_metadata() or ():
        if entry.key == _PUSHBACK_KEY:
            return str(entry.value)
    return None
