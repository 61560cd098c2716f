"""The settings of the cache."""

from pathlib import Path

from pydantic import Field

from .group import Group, OptionalPath

__all__ = ["CacheSettings"]


class CacheSettings(Group):
    """What was spoken, kept."""

    enabled: bool = Field(True, description="whether speech is kept at all")
    dir: OptionalPath = Field(
        None, description="folder; servers may share one; none: DATA_DIR/cache"
    )
    size_limit_bytes: int = Field(1 << 30, ge=1 << 20, le=1 << 50, description="of all files in it")
    memory_limit_bytes: int = Field(
        64 << 20, ge=0, le=1 << 40, description="of the responses that are also in memory"
    )
    entry_limit_bytes: int = Field(
        16 << 20, ge=1 << 10, le=1 << 30, description="of a response; a larger one is not kept"
    )
    max_age_s: float = Field(
        0.0, ge=0.0, le=1e9, description="how long speech is kept; 0: while there is room"
    )

    def folder(self, data_dir: Path) -> Path:
        """Where it lies."""
        return self.dir or data_dir / "cache"
