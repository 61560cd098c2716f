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
    run also sees the samples beside its window that the window depends on.

    Args:
        source: gives an array with time as its last axis that is made up to a frame at least.
        run: makes samples of a part of it; given that, where it begins and where it ends.
        frame_count: frames in all.

    Attributes:
        made: how many frames are made.
    """

    def __init__(
        self,
        source: Callable[[int], NDArray[np.float32]],
        run: Callable[[NDArray[np.float32], int, int], NDArray[np.float32]],
        geometry: Geometry,
        frame_count: int,
    ) -> None:
        self._source = source
        self._run = run
        self._geometry = geometry
        self._frame_count = frame_count
        self.made = 0
        self._samples: NDArray[np.float32] | None = None

    def up_to(self, end: int) -> NDArray[np.float32]:
        """Returns all of it, made at least up to frame `end`."""
        if self._samples is None or end > self.made:
            self._extend(end)
        assert self._samples is not None
        return self._samples

    def _extend(self, end: int) -> None:
        shape = self._geometry
        start = self.made
        # The first is heard soonest if no more is made than was asked for. The next may take as
        # long as those before it are heard, and a larger one sees less beside itself.
        end = max(end, start + min(shape.window, _GROWTH * start))
        is_nearly_all = start and self._frame_count - end <= shape.window // 2
        end = self._frame_count if is_nearly_all else min(end, self._frame_count)
        limit = self._frame_count * shape.taken
        first = max(0, start * shape.taken - shape.reach)
        last = min(limit, end * shape.taken + shape.reach)
        source = self._source(-(-last // shape.taken))
        made = self._run(source[..., first:last], first, last)
        if self._samples is None:
            size = self._frame_count * shape.given
            self._samples = np.empty((*made.shape[:-1], size), dtype=np.float32)
        skip = (start * shape.taken - first) * shape.given // shape.taken
        size = (end - start) * shape.given
        at = start * shape.given
        self._samples[..., at : at + size] = made[..., skip : skip + size]
        self.made = end
