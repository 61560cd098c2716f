"""What every group of settings is."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

__all__ = ["Group", "OptionalPath"]

# Empty, as a variable may be that is passed on unset, is none, and not the working folder.
OptionalPath = Annotated[Path | None, BeforeValidator(lambda value: None if value == "" else value)]


class Group(BaseModel):
    """Settings that belong together; a table of the TOML file."""

    model_config = ConfigDict(extra="forbid", frozen=True)
