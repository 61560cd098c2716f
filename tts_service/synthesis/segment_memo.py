"""What one utterance has to do with the kept segments: which it finds, which it adds."""

from collections.abc import Mapping, Sequence, Set

from .segment_speech import SegmentSpeech
from .speech_cache import SpeechCache

__all__ = ["SegmentMemo"]


class SegmentMemo:
    """The segments of one utterance, by their number.

    Args:
        keys: of all its segments.
        known: those of the keys that were there when it began.
        collects: whether what is spoken is to be kept.
    """

    def __init__(
        self, cache: SpeechCache, keys: Sequence[str], known: Set[str], *, collects: bool
    ) -> None:
        self._cache = cache
        self._keys = keys
        self._known = known
        self._collects = collects
        self._spoken: dict[str, SegmentSpeech] = {}
        self._size_bytes = 0
        self._done = 0

    @property
    def has_known(self) -> bool:
        """Whether any segment was there when it began."""
        return bool(self._known)

    @property
    def is_complete(self) -> bool:
        """Whether all segments were found or spoken."""
        return self._done == len(self._keys)

    @property
    def spoken(self) -> Mapping[str, SegmentSpeech]:
        """What was spoken and is to be kept, by key; nothing if that is too much to hold."""
        return self._spoken

    async def find(self, number: int) -> SegmentSpeech | None:
        """Returns the speech of a segment if it was spoken before, by this utterance or another."""
        key = self._keys[number]
        found = self._spoken.get(key)
        if found is None and key in self._known:
            found = await self._cache.segment(key)
        if found is not None:
            self._done += 1
        self._cache.count_segment(was_kept=found is not None)
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
