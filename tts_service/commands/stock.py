"""How much of what the cache holds."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..models.progress import size
from .duration import span
from .kept_speech import KeptSpeech, iso_time

__all__ = ["Stock"]

_TOP_VOICES = 10


@dataclass(slots=True)
class _Amount:
    count: int = 0
    size_bytes: int = 0

    def add(self, speech: KeptSpeech) -> None:
        self.count += 1
        self.size_bytes += speech.size_bytes

    def __str__(self) -> str:
        return f"{self.count:>8}  {size(self.size_bytes):>8}"

    def as_json(self) -> dict[str, int]:
        return {"count": self.count, "size_bytes": self.size_bytes}


def _amounts() -> defaultdict[str, _Amount]:
    return defaultdict(_Amount)


@dataclass(slots=True)
class Stock:
    """All that is kept, summed up.

    Attributes:
        folder: where it lies.
        size_bytes: of all files.
        size_limit_bytes: how much it may be.
    """

    folder: Path
    size_bytes: int
    size_limit_bytes: int
    _kinds: defaultdict[str, _Amount] = field(default_factory=_amounts)
    _voices: defaultdict[str, _Amount] = field(default_factory=_amounts)
    # Seconds since 1970: stored first, stored last, used last.
    _times_s: tuple[float, float, float] | None = None

    def add_all(self, entries: Iterable[KeptSpeech]) -> None:
        """Counts entries. A mix counts for each of its voices."""
        for speech in entries:
            self._kinds[speech.kind].add(speech)
            for voice in speech.voices:
                self._voices[voice].add(speech)
            times_s = self._times_s or (speech.stored_s, speech.stored_s, speech.used_s)
            self._times_s = (
                min(times_s[0], speech.stored_s),
                max(times_s[1], speech.stored_s),
                max(times_s[2], speech.used_s),
            )

    def lines(self, now_s: float) -> Iterable[str]:
        """As lines for people."""
        share = self.size_bytes / self.size_limit_bytes
        yield f"folder     {self.folder}"
        yield (
            f"on disk    {size(self.size_bytes)} of {size(self.size_limit_bytes)} ({share:.0%}),"
            " the database included"
        )
        for kind, amount in self._all_kinds().items():
            yield f"{kind + 's':<9}  {amount}"
        if self._times_s is None:
            return
        oldest, newest, used = (span(now_s - time_s) for time_s in self._times_s)
        yield f"stored     the oldest {oldest} ago, the newest {newest} ago"
        yield f"used       last {used} ago"
        top, rest = self._top_voices()
        for voice, amount in top:
            yield f"voice      {amount}  {voice}"
        if rest:
            yield f"           and {rest} more voice(s)"

    def as_json(self) -> dict[str, Any]:
        """As an object for programs."""
        times = (None,) * 3 if self._times_s is None else map(iso_time, self._times_s)
        oldest, newest, used = times
        return {
            "folder": str(self.folder),
            "size_bytes": self.size_bytes,
            "size_limit_bytes": self.size_limit_bytes,
            **{f"{kind}s": amount.as_json() for kind, amount in self._all_kinds().items()},
            "oldest_stored_at": oldest,
            "newest_stored_at": newest,
            "last_used_at": used,
            "voice_count": len(self._voices),
            "top_voices": [
                {"voice": voice, **amount.as_json()} for voice, amount in self._top_voices()[0]
            ],
        }

    def _all_kinds(self) -> dict[str, _Amount]:
        """The amounts by kind; those that are always named come first."""
        named = {kind: self._kinds.get(kind, _Amount()) for kind in ("response", "segment")}
        return {**named, **self._kinds}

    def _top_voices(self) -> tuple[list[tuple[str, _Amount]], int]:
        """The voices with the most bytes, and how many others there are."""
        voices = sorted(self._voices.items(), key=lambda item: (-item[1].size_bytes, item[0]))
        return voices[:_TOP_VOICES], len(voices[_TOP_VOICES:])
