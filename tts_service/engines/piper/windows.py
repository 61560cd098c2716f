"""Which samples of a tensor are made together, and which of the one before it that takes."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Geometry", "Strip"]

_GROWTH = 3


@dataclass(frozen=True, slots=True)
class Geometry:
    """How a stage works along time.

    Attributes:
        taken: samples that it takes for a frame of the text's.
        given: samples that it gives for a frame.
        reach: see `Stage`.
        window: the most frames that it makes at a time, unless it is asked for more.
    """

    taken: int
    given: int
    reach: int
    window: int


class Strip:
    """A tensor along time that is made window by window, as far as it is asked for.

    The windows, joined, are what one run over all of the source would make, up to rounding: each
    run also sees the samples beside its window that the window depends on. What is behind is
    dropped: a stage of a long sentence would take 40 MB.

    Args:
        source: gives samples of an array with time as its last axis, from one to another; what is
            before them is not asked for again.
        run: makes samples of a part of it; given that, where it begins and where it ends.
        frame_count: frames in all.

    Attributes:
        made: how many frames are made.
    """

    def __init__(
        self,
        source: Callable[[int, int], NDArray[np.float32]],
        run: Callable[[NDArray[np.float32], int, int], NDArray[np.float32]],
        geometry: Geometry,
        frame_count: int,
    ) -> None:
        self.made = 0
        self._source = source
        self._run = run
        self._geometry = geometry
        self._frame_count = frame_count
        self._first = 0
        self._samples: NDArray[np.float32] | None = None

    def samples(self, first: int, last: int) -> NDArray[np.float32]:
        """Returns samples from `first` to `last`, half-open; `first` never goes back."""
        given = self._geometry.given
        if self._samples is not None:
            self._samples = self._samples[..., first - self._first :]
            self._first = first
        if last > self.made * given:
            self._extend(-(-last // given))
        assert self._samples is not None
        return self._samples[..., first - self._first : last - self._first]

    def _extend(self, end: int) -> None:
        shape = self._geometry
        start = self.made
        # The first is heard soonest if no more is made than was asked for. The next may take as
        # long as those before it are heard, and a larger one sees less beside itself.
        end = max(end, start + min(shape.window, _GROWTH * start))
        is_nearly_all = start and self._frame_count - end <= shape.window // 2
        end = self._frame_count if is_nearly_all else min(end, self._frame_count)
        first = max(0, start * shape.taken - shape.reach)
        last = min(self._frame_count * shape.taken, end * shape.taken + shape.reach)
        made = self._run(self._source(first, last), first, last)
        skip = (start * shape.taken - first) * shape.given // shape.taken
        made = made[..., skip : skip + (end - start) * shape.given]
        kept = [] if self._samples is None else [self._samples]
        self._samples = np.concatenate([*kept, made], axis=-1)
        self.made = end
