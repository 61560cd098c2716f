"""What can go wrong, as the domain sees it.

    ServiceError
    ├── InvalidRequest         the caller's input is at fault; names each field
    ├── Unauthenticated        nobody knows who is calling
    ├── PermissionDenied       the caller may not do this
    ├── VoiceNotFound          no voice of that id
    ├── NotPossible            the server's state doesn't allow it; trying again won't help
    ├── Overloaded             a bound is reached; trying again later helps
    │   └── ReadTooSlowly      the caller doesn't keep up with its stream
    ├── EngineUnavailable      no worker can render now; trying again may help
    ├── DeadlinePassed         the caller's time is over
    ├── CallTooLong            the time that this server gives a call is over
    ├── UploadStalled          an upload that stopped sending
    ├── ShuttingDown           this server ends; another one may help
    └── RenderFailed           the engine answered with an error of its own

`tts_service.api.status` is the one place that turns these into gRPC statuses. Their texts
are written for callers: they never hold a path, a stack or another library's message.
"""

import random
from dataclasses import dataclass

__all__ = [
    "CallTooLong",
    "DeadlinePassed",
    "EngineUnavailable",
    "InvalidRequest",
    "NotCached",
    "NotPossible",
    "Overloaded",
    "PermissionDenied",
    "ReadTooSlowly",
    "RenderFailed",
    "ServiceError",
    "ShuttingDown",
    "Unauthenticated",
    "UploadStalled",
    "Violation",
    "VoiceNotFound",
]

_READ_RETRY_MS = 1000
# Spread, so that those who were sent away together don't come back together.
_ELSEWHERE_RETRY_MS = (500, 1500)


class ServiceError(Exception):
    """Base of everything that a caller may be told about.

    Attributes:
        reason: what happened, in UPPER_SNAKE_CASE, for programs (`ErrorInfo.reason`).
    """

    reason = "INTERNAL"


@dataclass(frozen=True, slots=True)
class Violation:
    """One field at fault.

    Attributes:
        field: path of the field in the request, such as `format.sample_rate_hz`.
        description: what is wrong and what would be right, in one sentence.
    """

    field: str
    description: str


class InvalidRequest(ServiceError):  # noqa: N818 - the names read as the state they report
    """The request can't be served whatever the server's state."""

    reason = "INVALID_REQUEST"

    def __init__(self, *violations: Violation) -> None:
        if not violations:
            raise ValueError("an invalid request has at least one violation")
        super().__init__("; ".join(f"{v.field}: {v.description}" for v in violations))
        self.violations = violations


class Unauthenticated(ServiceError):  # noqa: N818
    """Nobody knows who is calling. Callers are all told the same; what it was is for the log.

    Attributes:
        cause: what was wrong, in a few words.
        holder: whose token it was, where it was once good; else "".
    """

    reason = "UNAUTHENTICATED"

    def __init__(self, cause: str, *, holder: str = "") -> None:
        super().__init__(
            "this server has to know who calls, and doesn't; send a valid token as the metadata "
            "'authorization: Bearer TOKEN', its operator makes them"
        )
        self.cause = cause
        self.holder = holder


class PermissionDenied(ServiceError):  # noqa: N818
    """The caller is known, and may not do this."""

    def __init__(self, problem: str, *, reason: str) -> None:
        super().__init__(problem)
        self.reason = reason


class VoiceNotFound(ServiceError):  # noqa: N818
    """No engine has a voice of this id."""

    reason = "VOICE_NOT_FOUND"

    def __init__(self, voice: str) -> None:
        super().__init__(f"there is no voice {voice!r}")
        self.voice = voice


class NotCached(ServiceError):  # noqa: N818
    """Nothing but kept speech was asked for, and there is none."""

    reason = "NOT_CACHED"

    def __init__(self) -> None:
        super().__init__("this speech is not kept, and the request's cache mode is ONLY")


class NotPossible(ServiceError):  # noqa: N818
    """What was asked for can't be done to the thing that was named, as things are."""

    def __init__(self, problem: str, *, reason: str) -> None:
        super().__init__(problem)
        self.reason = reason


class Overloaded(ServiceError):  # noqa: N818
    """A bound is reached.

    Attributes:
        retry_after_ms: when trying again is worth it.
    """

    def __init__(self, problem: str, *, reason: str, retry_after_ms: int) -> None:
        super().__init__(problem)
        self.reason = reason
        self.retry_after_ms = retry_after_ms


class ReadTooSlowly(Overloaded):
    """A caller doesn't keep up with its stream."""

    def __init__(self, problem: str) -> None:
        super().__init__(
            f"this call was read too slowly: {problem}",
            reason="READ_TOO_SLOWLY",
            retry_after_ms=_READ_RETRY_MS,
        )


class EngineUnavailable(ServiceError):  # noqa: N818
    """No worker of the engine can render now.

    Attributes:
        retry_after_ms: when trying again is worth it; None where that isn't known.
    """

    def __init__(
        self, engine: str, problem: str, *, reason: str, retry_after_ms: int | None = None
    ) -> None:
        super().__init__(f"engine {engine!r} {problem}")
        self.engine = engine
        self.reason = reason
        self.retry_after_ms = retry_after_ms


class DeadlinePassed(ServiceError):  # noqa: N818
    """The caller's deadline passed before the work was done."""

    reason = "DEADLINE_PASSED"

    def __init__(self) -> None:
        super().__init__("the call's deadline passed before the speech was complete")


class CallTooLong(ServiceError):  # noqa: N818
    """A call took longer than this server lets any, whatever the caller's deadline."""

    reason = "CALL_TOO_LONG"

    def __init__(self, limit_s: float) -> None:
        super().__init__(f"the call took longer than {limit_s:g} s, which is this server's limit")


class UploadStalled(ServiceError):  # noqa: N818
    """An upload stopped sending."""

    reason = "UPLOAD_STALLED"

    def __init__(self, limit_s: float) -> None:
        super().__init__(f"the upload sent nothing for {limit_s:g} s")


class ShuttingDown(ServiceError):  # noqa: N818
    """This server ends, and the call was not done within the grace period.

    Attributes:
        retry_after_ms: when trying again is worth it.
    """

    reason = "SHUTTING_DOWN"

    def __init__(self) -> None:
        super().__init__("this server is shutting down and could not finish the call")
        self.retry_after_ms = random.randint(*_ELSEWHERE_RETRY_MS)


class RenderFailed(ServiceError):  # noqa: N818
    """The engine gave up on a text. Its own words are in the worker's log."""

    reason = "RENDER_FAILED"

    def __init__(self, engine: str, problem: str = "could not speak this text") -> None:
        super().__init__(f"engine {engine!r} {problem}")
        self.engine = engine
