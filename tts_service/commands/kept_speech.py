"""An entry of the cache, as a piece of speech that somebody looks at."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ..cache import Entry
from ..models.progress import size
from ..synthesis.marks import voice_mark
from .duration import span

__all__ = ["KeptSpeech", "iso_time"]

_KINDS = {"rendition": "response", "segment": "segment"}


@dataclass(frozen=True, slots=True)
class KeptSpeech:
    """A response or a segment.

    Attributes:
        kind: `response`, `segment`, or what its key begins with if that is unknown here.
        voices: ids of the voices that speak; several for a mix.
        stored_s: when it was stored, in seconds since 1970.
        used_s: when it was used last.
    """

    key: str
    kind: str
    voices: tuple[str, ...]
    size_bytes: int
    stored_s: float
    used_s: float

    @classmethod
    def of_entry(cls, entry: Entry) -> "KeptSpeech":
        """What an entry is."""
        beginning = entry.key.partition("-")[0]
        return cls(
            entry.key,
            _KINDS.get(beginning, beginning),
            tuple(_voice_ids(entry.marks)),
            entry.size_bytes,
            entry.stored_s,
            entry.used_s,
        )

    def line(self, now_s: float) -> str:
        """As a line for people."""
        return (
            f"{self.kind:<8}  {','.join(self.voices) or '-':<24}  {size(self.size_bytes):>8}"
            f"  stored {span(now_s - self.stored_s):>6} ago"
            f"  used {span(now_s - self.used_s):>6} ago  {self.key}"
        )

    def as_json(self) -> dict[str, Any]:
        """As an object for programs."""
        return {
            "key": self.key,
            "kind": self.kind,
            "voices": list(self.voices),
            "size_bytes": self.size_bytes,
            "stored_at": iso_time(self.stored_s),
            "used_at": iso_time(self.used_s),
        }


def iso_time(time_s: float) -> str:
    """Seconds since 1970 as an ISO 8601 time."""
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="seconds")


def _voice_ids(marks: Iterable[str]) -> Iterable[str]:
    beginning = voice_mark("")
    return (mark.removeprefix(beginning) for mark in marks if mark.startswith(beginning))
