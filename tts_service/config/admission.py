"""The settings of who may use an engine, and how much."""

from collections.abc import Mapping

from pydantic import Field

from .group import Group

__all__ = ["AdmissionSettings", "QuotaLimits", "QuotaSettings"]


class AdmissionSettings(Group):
    """Places at each engine, and the line before them."""

    slots: int = Field(
        0, ge=0, le=4096, description="calls that an engine renders at once; 0: by the engine"
    )
    queue_limit: int = Field(
        32, ge=0, le=4096, description="calls that may wait for a place at an engine"
    )
    wait_limit_s: float = Field(
        0.25, ge=0.0, le=600.0, description="the longest wait for a place; else refused at once"
    )
    open_calls_limit: int = Field(
        1000, ge=1, le=100_000, description="calls of an engine, those with slow readers included"
    )
    promises_limit: int = Field(
        10_000, ge=0, le=1_000_000, description="refused calls that go first when they come again"
    )


class QuotaLimits(Group):
    """What one identity may take; 0: as much as it likes."""

    characters_per_minute: int = Field(
        0, ge=0, le=10**9, description="that are spoken for it; what is kept is free; 0: any"
    )
    concurrent_streams: int = Field(
        0, ge=0, le=100_000, description="texts that are spoken for it at once; 0: any"
    )
    uploads_per_hour: int = Field(0, ge=0, le=10**6, description="voices that it uploads; 0: any")


class QuotaSettings(QuotaLimits):
    """What each identity may take, and exceptions by its name."""

    by_identity: Mapping[str, QuotaLimits] = Field(
        {}, description="tables [quotas.by_identity.NAME] with other limits for a name"
    )

    def of(self, identity: str) -> QuotaLimits:
        """The limits of an identity; what its own table leaves out is as for all."""
        own = self.by_identity.get(identity)
        if own is None:
            return self
        given = own.model_dump(include=own.model_fields_set)
        return QuotaLimits(**{**self.model_dump(exclude={"by_identity"}), **given})
