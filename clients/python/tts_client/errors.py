"""What a call can end with, other than speech.

TtsError                     message, reason, request_id
├── InvalidArgument          violations: which field, and what is wrong with it
├── NotFound                 resource_type, resource_name
├── AlreadyExists            resource_type, resource_name
├── NotCached                nothing but kept speech was asked for, and there is none
├── FailedPrecondition
├── Unauthenticated
├── PermissionDenied
├── Unavailable              retry_after_s; no `reason`: no server answered
├── Overloaded               retry_after_s
├── DeadlineExceeded
├── Cancelled
├── ServerError              anything else that a server says
└── StreamError              the server called it a success, and it was not
    ├── TruncatedStream      no summary came
    └── CorruptStream        the events or their bytes do not add up
"""

# The classes bear the names of the statuses that they stand for.
# ruff: noqa: N818

from dataclasses import dataclass


class TtsError(Exception):
    """A call that did not end in what it was made for: whole, verified speech, as a rule.

    `message` is one English sentence. `reason` is the server's constant for programs
    (`google.rpc.ErrorInfo.reason`), empty when the error arose on this side. `request_id`
    finds the call in the server's log; empty when the call never left.
    """

    def __init__(self, message: str, *, reason: str = "", request_id: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.request_id = request_id


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field at fault, by its path in the request, such as `format.sample_rate_hz`."""

    field: str
    description: str


class InvalidArgument(TtsError):
    """The request cannot be served as it is; sending it again changes nothing.

    Raised by the server's word, or before anything is sent when the request cannot be written
    down at all, as with a lone surrogate in the text.
    """

    def __init__(
        self,
        message: str,
        *,
        violations: tuple[FieldViolation, ...] = (),
        reason: str = "",
        request_id: str = "",
    ) -> None:
        super().__init__(message, reason=reason, request_id=request_id)
        self.violations = violations

    @classmethod
    def of_field(cls, field: str, description: str) -> "InvalidArgument":
        """The error of one field, found on this side."""
        return cls(f"{field}: {description}", violations=(FieldViolation(field, description),))


class _OfResource(TtsError):
    """`resource_type` and `resource_name`: what it is about; empty if the server does not say."""

    def __init__(
        self,
        message: str,
        *,
        resource_type: str = "",
        resource_name: str = "",
        reason: str = "",
        request_id: str = "",
    ) -> None:
        super().__init__(message, reason=reason, request_id=request_id)
        self.resource_type = resource_type
        self.resource_name = resource_name


class NotFound(_OfResource):
    """What was named does not exist: a voice, as a rule."""


class AlreadyExists(_OfResource):
    """The id that was asked for is taken: of a voice, as a rule."""


class NotCached(TtsError):
    """The speech is not kept, and `CacheMode.ONLY` forbids to speak it.

    Not a `NotFound`, though it has the same status: the voice and all else that was named exist.
    """


class FailedPrecondition(TtsError):
    """The server is not in the state that the request needs."""


class Unauthenticated(TtsError):
    """The server does not know who is calling.

    Give the client a `token`, or, where the server goes by certificates, one by `Tls`. If it has
    one, that has ended, was revoked, or is another server's: ask for a new one.
    """


class PermissionDenied(TtsError):
    """The server knows who is calling, and does not let them do this.

    The message names the scope that is missing. The server's operator gives it, with a new token.
    """


class _TryLater(TtsError):
    """`retry_after_s`: the server's advice in seconds; None when it gives none."""

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float | None = None,
        reason: str = "",
        request_id: str = "",
    ) -> None:
        super().__init__(message, reason=reason, request_id=request_id)
        self.retry_after_s = retry_after_s


class Unavailable(_TryLater):
    """The service cannot be had now, and the retries of `RetryPolicy` are spent.

    With a `reason` a server said so. Without one the connection failed: nobody listens there, or
    it broke off in the middle.
    """


class Overloaded(_TryLater):
    """The server is at a limit and took no work on, and the retries of `RetryPolicy` are spent.

    `reason` tells which limit. Some pass only when somebody does something, such as STORAGE_FULL
    when its operator makes room: of those the server says that no retry helps.
    """


class DeadlineExceeded(TtsError):
    """The call took longer than `timeout_s`."""


class Cancelled(TtsError):
    """The call was given up, by `cancel()`, by closing the client, or by the server."""


class ServerError(TtsError):
    """The server failed, or does not know the method: INTERNAL, UNKNOWN, UNIMPLEMENTED, ..."""


class StreamError(TtsError):
    """The stream ended well for gRPC, but its content is not one whole piece of speech."""


class TruncatedStream(StreamError):
    """The stream ended without its summary. What was received is not all."""


class CorruptStream(StreamError):
    """Events out of order, a frame missing, or bytes that differ from the server's checksum."""
