"""How much each identity may ask for."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from ..config import QuotaLimits, QuotaSettings
from ..errors import Overloaded

__all__ = ["Quotas", "Share"]

_STREAM_RETRY_MS = 1000
_IDENTITIES = 10_000


@dataclass(slots=True)
class _Bucket:
    """What may be taken at once, filled evenly over a period (a token bucket)."""

    limit: int
    period_s: float
    balance: float
    read_s: float

    def missing_s(self, amount: int, now_s: float) -> float:
        """How long until `amount` may be taken; 0 if it may be now.

        More than the limit may be taken when the bucket is full, and leaves it below zero.
        """
        per_s = self.limit / self.period_s
        self.balance = min(self.limit, self.balance + (now_s - self.read_s) * per_s)
        self.read_s = now_s
        return max(0.0, (min(amount, self.limit) - self.balance) / per_s)


class _Account:
    """What one identity has taken."""

    def __init__(self, limits: QuotaLimits, now_s: float) -> None:
        self.limits = limits
        self.streams = 0
        self.characters = _bucket(limits.characters_per_minute, 60.0, now_s)
        self.uploads = _bucket(limits.uploads_per_hour, 3600.0, now_s)


class Share:
    """What a call has taken of its caller's quotas. Either of its methods is called, once."""

    def __init__(self, account: _Account, characters: int) -> None:
        self._account = account
        self._characters = characters

    def close(self) -> None:
        """The speech is over."""
        self._account.streams -= 1

    def give_back(self) -> None:
        """There was no speech."""
        self.close()
        if self._account.characters is not None:
            self._account.characters.balance += self._characters


class Quotas:
    """Counts what identities take, and refuses what is too much. A limit of 0 is none.

    Args:
        clock: in seconds.
    """

    def __init__(
        self, settings: QuotaSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._accounts: OrderedDict[str, _Account] = OrderedDict()

    def take_speech(self, identity: str, characters: int) -> Share:
        """Counts speech, from before it waits for an engine on.

        Raises:
            Overloaded: `QUOTA_STREAMS` or `QUOTA_CHARACTERS`.
        """
        account = self._account(identity)
        limit = account.limits.concurrent_streams
        if limit and account.streams >= limit:
            raise Overloaded(
                f"{limit} texts of this caller are being spoken, which is its limit",
                reason="QUOTA_STREAMS",
                retry_after_ms=_STREAM_RETRY_MS,
            )
        self._check(account.characters, characters, "characters a minute", "QUOTA_CHARACTERS")
        if account.characters is not None:
            account.characters.balance -= characters
        account.streams += 1
        return Share(account, characters)

    def take_upload(self, identity: str) -> None:
        """Counts an upload.

        Raises:
            Overloaded: `QUOTA_UPLOADS`.
        """
        bucket = self._account(identity).uploads
        self._check(bucket, 1, "uploads an hour", "QUOTA_UPLOADS")
        if bucket is not None:
            bucket.balance -= 1

    def _check(self, bucket: _Bucket | None, amount: int, unit: str, reason: str) -> None:
        if bucket is None:
            return
        missing_s = bucket.missing_s(amount, self._clock())
        if missing_s > 0:
            raise Overloaded(
                f"this caller has had its {bucket.limit} {unit}",
                reason=reason,
                retry_after_ms=max(1, round(missing_s * 1000)),
            )

    def _account(self, identity: str) -> _Account:
        account = self._accounts.get(identity)
        if account is None:
            account = _Account(self._settings.of(identity), self._clock())
            self._accounts[identity] = account
        self._accounts.move_to_end(identity)
        if len(self._accounts) > _IDENTITIES:
            self._accounts.popitem(last=False)
        return account


def _bucket(limit: int, period_s: float, now_s: float) -> _Bucket | None:
    return _Bucket(limit, period_s, float(limit), now_s) if limit else None
