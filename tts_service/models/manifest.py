"""A file that names another place to fetch a model from: a mirror, or a fine-tuned checkpoint.

    repository = "someone/XTTS-v2-warm"
    revision = "0123456789abcdef0123456789abcdef01234567"

    [[files]]
    name = "model.pth"
    size_bytes = 1867929118
    sha256 = "…"

All of these keys are needed, and there are no others.
"""

import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from .errors import ManifestError
from .source import Model, ModelFile, ModelSource

__all__ = ["read_manifest"]

_MAX_BYTES = 1 << 20

# No path, nothing hidden: what is fetched lies at the top of the folder, beside our own record.
_FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\.[a-z0-9]{1,16}$")]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: _FileName
    size_bytes: int = Field(ge=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class _Manifest(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    repository: str = Field(pattern=r"^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$")
    revision: str = Field(pattern=r"^[0-9a-f]{40}$")
    files: list[_File] = Field(min_length=1, max_length=64)


def read_manifest(path: Path, model: Model) -> ModelSource:
    """Returns the source that a TOML file describes.

    Raises:
        ManifestError: it can't be read, has an unknown key or a value out of range, names a file
            twice, or lacks one that `model` requires.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_BYTES).decode()
        manifest = _Manifest.model_validate(tomllib.loads(text))
    except OSError as error:
        raise ManifestError(f"--manifest: {error.strerror}: {path}") from error
    except ValidationError as error:
        raise ManifestError(
            "\n".join(_describe(path, detail) for detail in error.errors())
        ) from None
    except ValueError as error:  # not UTF-8, not TOML
        raise ManifestError(f"{path}: {error}") from None
    names = [file.name for file in manifest.files]
    if len(set(names)) < len(names):
        raise ManifestError(f"{path}: files: a name stands there twice")
    if missing := sorted(model.required_files.difference(names)):
        raise ManifestError(f"{path}: files: {model.name} needs {', '.join(missing)} too")
    return ModelSource(
        repository=manifest.repository,
        revision=manifest.revision,
        files=tuple(ModelFile(file.name, file.size_bytes, file.sha256) for file in manifest.files),
    )


def _describe(path: Path, detail: ErrorDetails) -> str:
    place = ".".join(str(part) for part in detail["loc"])
    return f"{path}: {place}: {detail['msg']}"
