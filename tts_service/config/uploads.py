"""The settings of uploads."""

from pydantic import Field

from .group import Group

__all__ = ["UploadSettings"]


class UploadSettings(Group):
    """Uploads of voices."""

    max_upload_bytes: int = Field(
        64 << 20, ge=1 << 16, le=4 << 30, description="bytes of all recordings of one upload"
    )
    max_recordings: int = Field(20, ge=1, le=64, description="recordings of one upload")
    max_duration_s: float = Field(
        600.0, ge=30.0, le=3600.0, description="length of all recordings of one upload, decoded"
    )
    max_concurrent: int = Field(2, ge=1, le=64, description="uploads at the same time")
    timeout_s: float = Field(
        300.0, gt=0.0, le=3600.0, description="how long the bytes of an upload may take"
    )
    stall_limit_s: float = Field(
        30.0, gt=0.0, le=3600.0, description="how long an upload may send nothing"
    )
    prepare_timeout_s: float = Field(
        60.0, gt=0.0, le=600.0, description="how long decoding and preparing may take"
    )
    prepare_memory_bytes: int = Field(
        1 << 30, ge=1 << 28, le=64 << 30, description="memory of the process that does it"
    )
    consent_required: bool = Field(
        False, description="whether an upload without a consent is refused"
    )
