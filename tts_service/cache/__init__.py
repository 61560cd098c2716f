"""A store of bytes by key that forgets what was used least recently: on disk, and in memory.

Knows nothing of speech. What is kept, under which key, is `synthesis.speech_cache`'s business.
"""

from .disk_tier import CacheUnusableError, DiskTier, Entry, Finding
from .memory_tier import MemoryTier
from .seal import BadValueError

__all__ = [
    "BadValueError",
    "CacheUnusableError",
    "DiskTier",
    "Entry",
    "Finding",
    "MemoryTier",
]
