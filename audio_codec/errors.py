"""What can go wrong while audio is encoded.

CodecError
├── FormatError             the format that was asked for does not exist
├── StreamClosedError       a stream was used after its end
├── LengthMismatchError     a stream is not as long as its header says
└── EncodingFailedError     the codec library failed
"""


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
