"""What every group of settings is."""

from pydantic import BaseModel, ConfigDict

__all__ = ["Group"]


class Group(BaseModel):
    """Settings that belong together; a table of the TOML file."""

    model_config = ConfigDict(extra="forbid", frozen=True)
