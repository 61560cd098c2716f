"""From encoded runs to frames: their numbers, their times, the text they speak, their sums."""

from collections.abc import Sequence

import google_crc32c

from audio_codec import EncodedFrame

from .events import Frame
from .rendition import Totals
from .timeline import Timeline

__all__ = ["FrameMaker"]


class FrameMaker:
    """Makes the frames of one response.

    Args:
        rate_hz: of the encoded audio.
        joins: whether runs that are there at once make one frame. Each frame is a message, which
            costs a server and its callers about as much as encoding it.
    """

    def __init__(self, rate_hz: int, *, joins: bool) -> None:
        self._rate_hz = rate_hz
        self._joins = joins
        self._source_rate_hz = rate_hz
        self._timeline = Timeline()
        self._count = 0
        self._byte_count = 0
        self._crc32c = 0

    def heard(self, sample_count: int, sample_rate_hz: int, span: tuple[int, int]) -> None:
        """Notes the text that a run of samples speaks, before it is encoded."""
        self._source_rate_hz = sample_rate_hz
        self._timeline.append(sample_count, span)

    def frames(self, encoded: Sequence[EncodedFrame]) -> list[Frame]:
        """Makes the next frames."""
        if self._joins and len(encoded) > 1:
            encoded = [_joined(encoded)]
        return [self._frame(one) for one in encoded]

    def totals(self, sample_count: int) -> Totals:
        """What all frames add up to.

        Args:
            sample_count: that the encoder counted.
        """
        return Totals(sample_count, self._byte_count, self._crc32c)

    def _frame(self, encoded: EncodedFrame) -> Frame:
        end_sample = encoded.start_sample + encoded.sample_count
        start_ms = self._ms(encoded.start_sample)
        start, end = self._timeline.span_of(
            encoded.start_sample * self._source_rate_hz // self._rate_hz,
            end_sample * self._source_rate_hz // self._rate_hz,
        )
        sequence = self._count
        self._count += 1
        self._byte_count += len(encoded.data)
        self._crc32c = google_crc32c.extend(self._crc32c, encoded.data)
        return Frame(
            data=encoded.data,
            sequence=sequence,
            start_ms=start_ms,
            duration_ms=self._ms(end_sample) - start_ms,
            start_character=start,
            end_character=end,
        )

    def _ms(self, sample: int) -> int:
        return sample * 1000 // self._rate_hz


def _joined(runs: Sequence[EncodedFrame]) -> EncodedFrame:
    return EncodedFrame(
        b"".join(run.data for run in runs),
        runs[0].start_sample,
        sum(run.sample_count for run in runs),
    )
