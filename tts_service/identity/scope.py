"""What a caller may be allowed to do."""

from enum import StrEnum

__all__ = ["Scope"]


class Scope(StrEnum):
    """One permission."""

    SPEAK = "speak"
    """May have text spoken."""
    VOICES = "voices"
    """May store and delete voices."""
    ADMIN = "admin"
    """May do all of it."""
