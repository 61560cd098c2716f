"""What a request has to do with kept speech, and where its speech came from."""

from enum import Enum

__all__ = ["CacheMode", "CacheStatus"]


class CacheMode(Enum):
    """What a caller wants of the cache. See `tts.v1.CacheMode`."""

    DEFAULT = "default"
    BYPASS = "bypass"
    REFRESH = "refresh"
    ONLY = "only"

    @property
    def looks(self) -> bool:
        """Whether what is kept may answer."""
        return self in (CacheMode.DEFAULT, CacheMode.ONLY)

    @property
    def keeps(self) -> bool:
        """Whether what is spoken is kept."""
        return self in (CacheMode.DEFAULT, CacheMode.REFRESH)


class CacheStatus(Enum):
    """Where the speech of a stream came from. See `tts.v1.CacheStatus`."""

    MISS = "miss"
    HIT = "hit"
    JOINED = "joined"
