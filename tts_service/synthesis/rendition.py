"""A finished response: what a caller heard, to be heard again."""

from dataclasses import dataclass

from google.protobuf.message import DecodeError

from protos.cache.v1 import cache_pb2

from .events import Frame

__all__ = ["Rendition", "Totals"]

# Of a frame in memory beside its data.
_FRAME_BYTES = 250


@dataclass(frozen=True, slots=True)
class Totals:
    """What a stream adds up to.

    Attributes:
        sample_count: samples at the format's rate; 0 if there was nothing to speak.
        crc32c: Castagnoli CRC of all frames' data, joined.
    """

    sample_count: int
    byte_count: int
    crc32c: int


@dataclass(frozen=True, slots=True)
class Rendition:
    """All frames of a response.

    Attributes:
        seed: that all of it was drawn with; None if there is no single one.
        made_s: when it was made, in seconds since 1970.
    """

    frames: tuple[Frame, ...]
    totals: Totals
    seed: int | None
    made_s: float

    @property
    def size_bytes(self) -> int:
        """What it takes in memory, nearly."""
        return self.totals.byte_count + _FRAME_BYTES * len(self.frames)

    def to_bytes(self) -> bytes:
        """As `cache.v1.Rendition`."""
        message = cache_pb2.Rendition(
            frames=[
                cache_pb2.Frame(
                    data=frame.data,
                    start_ms=frame.start_ms,
                    duration_ms=frame.duration_ms,
                    start_character=frame.start_character,
                    end_character=frame.end_character,
                )
                for frame in self.frames
            ],
            sample_count=self.totals.sample_count,
            crc32c=self.totals.crc32c,
            seed=self.seed,
            made_time_s=self.made_s,
        )
        return message.SerializeToString()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Rendition":
        """Reads what `to_bytes` wrote.

        Raises:
            ValueError: it is something else.
        """
        try:
            message = cache_pb2.Rendition.FromString(data)
        except DecodeError as error:
            raise ValueError("is no rendition") from error
        return cls(
            frames=tuple(
                Frame(
                    data=frame.data,
                    sequence=sequence,
                    start_ms=frame.start_ms,
                    duration_ms=frame.duration_ms,
                    start_character=frame.start_character,
                    end_character=frame.end_character,
                )
                for sequence, frame in enumerate(message.frames)
            ),
            totals=Totals(
                sample_count=message.sample_count,
                byte_count=sum(len(frame.data) for frame in message.frames),
                crc32c=message.crc32c,
            ),
            seed=message.seed if message.HasField("seed") else None,
            made_s=message.made_time_s,
        )
