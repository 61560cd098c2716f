"""The seam between a stream and the codec that encodes it."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Chunk:
    """A run of encoded bytes that becomes one frame.

    Attributes:
        data: the bytes.
        end_sample: how many samples a decoder has put out when it holds all bytes up to here,
            at the output rate. It may lie past the end of the stream, where the codec pads.
    """

    data: bytes
    end_sample: int


class Coder(Protocol):
    """Encodes one stream of mono float32 samples in the range -1 to 1."""

    @property
    def block_samples(self) -> int:
        """How many samples `encode` takes."""
        ...

    def encode(self, block: NDArray[np.float32]) -> list[Chunk]:
        """Encodes exactly `block_samples` samples."""
        ...

    def finish(self, rest: NDArray[np.float32]) -> list[Chunk]:
        """Encodes the last samples, fewer than a block and maybe none, and ends the stream."""
        ...

    def close(self) -> None:
        """Frees the codec. May be called at any time and more than once."""
        ...


def quantised(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    """16-bit samples, rounded to the nearest. 1.0 saturates at 32767.

    The factor is 32768, so that samples that were 16 bits once come back as they were.
    """
    rounded: NDArray[np.float32] = np.rint(samples * 32768.0)
    return rounded.clip(-32768, 32767).astype(np.int16)
