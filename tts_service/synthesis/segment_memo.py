"""What one utterance has to do with the kept segments: which it finds, which it adds."""

import math
import time
from collections.abc import Mapping, Sequence, Set

from ..errors import NotCached
from .segment_speech import SegmentSpeech
from .speech_cache import SpeechCache

__all__ = ["SegmentMemo"]


class SegmentMemo:
    """The segments of one utterance, by their number.

    Args:
        keys: of all its segments.
        known: those of the keys that were there when it began.
        collects: whether what is spoken is to be kept.
        may_speak: whether there may be segments that aren't found.
    """

    def __init__(
        self,
        cache: SpeechCache,
        keys: Sequence[str],
        known: Set[str],
        *,
        collects: bool,
        may_speak: bool = True,
    ) -> None:
        self._cache = cache
        self._keys = keys
        self._known = known
        self._collects = collects
        self._may_speak = may_speak
        self._spoken: dict[str, SegmentSpeech] = {}
        self._size_bytes = 0
        self._done = 0
        self._oldest_s = math.inf

    @property
    def has_known(self) -> bool:
        """Whether any segment was there when it began."""
        return bool(self._known)

    @property
    def knows_all(self) -> bool:
        """Whether all segments were there when it began, so that no engine is needed."""
        return all(key in self._known for key in self._keys)

    @property
    def made_s(self) -> float:
        """When the oldest of it was made, in seconds since 1970."""
        return min(self._oldest_s, time.time())

    @property
    def is_complete(self) -> bool:
        """Whether all segments were found or spoken."""
        return self._done == len(self._keys)

    @property
    def spoken(self) -> Mapping[str, SegmentSpeech]:
        """What was spoken and is to be kept, by key; nothing if that is too much to hold."""
        return self._spoken

    async def find(self, number: int) -> SegmentSpeech | None:
        """Returns the speech of a segment if it was spoken before, by this utterance or another.

        Raises:
            NotCached: it was not, and may not be spoken. It may have gone only just now.
        """
        key = self._keys[number]
        found = self._spoken.get(key)
        if found is None and key in self._known:
            found = await self._cache.segment(key)
        if found is not None:
            self._done += 1
            self._oldest_s = min(self._oldest_s, found.made_s)
        self._cache.count_segment(was_kept=found is not None)
        if found is None and not self._may_speak:
            raise NotCached
        return found

    def note(self, number: int, speech: SegmentSpeech) -> None:
        """Takes in that a segment was spoken."""
        self._done += 1
        if not self._collects:
            return
        self._size_bytes += speech.size_bytes
        if self._size_bytes > self._cache.limits.entry_bytes:
            self._collects = False
            self._spoken.clear()
        else:
            self._spoken[self._keys[number]] = speech
