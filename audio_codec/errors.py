"""What can go wrong while audio is encoded or decoded.

CodecError
├── FormatError             the format that was asked for does not exist
├── StreamClosedError       a stream was used after its end
├── LengthMismatchError     a stream is not as long as its header says
├── EncodingFailedError     the codec library failed
├── DecodeError             a file is no audio that can be used; the reason says why
├── SandboxRefusedError     the function in the sandbox refused its input, by name
└── SandboxDiedError        the sandbox ended without an answer
    └── SandboxStartError   it did not start, or not in time; no job has reached it
"""

from enum import StrEnum


class CodecError(Exception):
    """Base of all errors of this package."""


class FormatError(CodecError):
    """The format that was asked for does not exist.

    Attributes:
        field: the setting at fault: "encoding", "sample_rate_hz", "bitrate_bps" or "frame_ms".
        problem: one sentence for the caller that lists the valid choices.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class StreamClosedError(CodecError):
    """Samples were given to a stream that had been finished or closed."""


class LengthMismatchError(CodecError):
    """A stream ended with another number of samples than was promised at its start.

    The header with the promised length has been handed out by then, so the file is invalid.
    """

    def __init__(self, promised_sample_count: int, actual_sample_count: int) -> None:
        super().__init__(
            f"{promised_sample_count} source samples were promised, "
            f"{actual_sample_count} were given"
        )
        self.promised_sample_count = promised_sample_count
        self.actual_sample_count = actual_sample_count


class EncodingFailedError(CodecError):
    """The codec library refused samples that it should have taken."""


class DecodeFailure(StrEnum):
    """Why a file cannot be decoded."""

    NOT_AUDIO = "NOT_AUDIO"
    """No container of audio, or none with audio in it."""

    UNSUPPORTED = "UNSUPPORTED"
    """Audio, but with a codec, a sample rate or channels that are not taken."""

    DAMAGED = "DAMAGED"
    """It begins as audio and breaks off inside, or changes its format on the way."""

    TOO_LONG = "TOO_LONG"
    """It holds more audio than is allowed."""

    NOT_FINITE = "NOT_FINITE"
    """Some of its samples are infinite or not numbers."""


class DecodeError(CodecError):
    """A file is no audio that can be used.

    Attributes:
        reason: why.
        message: one sentence for whoever sent the file.
    """

    def __init__(self, reason: DecodeFailure, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message


class SandboxRefusedError(CodecError):
    """The function in the sandbox refused its input.

    It raised an exception with the attributes `reason` and `message`, and these are theirs. They
    come from a process that has read untrusted bytes: compare the reason with those that are
    known before believing it.

    Attributes:
        reason: at most 100 characters.
        message: at most 1000 characters.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message


class SandboxDiedError(CodecError):
    """The sandbox ended without an answer: a crash, a limit, a bug, or an answer that is none.

    The message says which, for the log; it may hold text from inside the sandbox.
    """


class SandboxStartError(SandboxDiedError):
    """The sandbox did not start, or not in time, for which no job is to blame."""
