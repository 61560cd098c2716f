"""What a model is: its files to the byte, where they are published, and on what terms."""

from dataclasses import dataclass

__all__ = ["Licence", "Model", "ModelFile", "ModelSource"]


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file.

    Attributes:
        name: in the repository and in the model's folder; no path.
        size_bytes: its exact length.
        sha256: of its content, 64 hexadecimal digits in lower case.
    """

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A fixed state of a repository on a Hugging Face hub.

    Attributes:
        repository: `owner/name`.
        revision: the commit, 40 hexadecimal digits. Branches move, so they are no revision.
        files: those that are wanted of it.
    """

    repository: str
    revision: str
    files: tuple[ModelFile, ...]

    @property
    def size_bytes(self) -> int:
        """Of all files together."""
        return sum(file.size_bytes for file in self.files)


@dataclass(frozen=True, slots=True)
class Licence:
    """The terms of a model.

    Attributes:
        name: as its authors write it.
        summary: what it asks, in our words.
        url: where its text is.
    """

    name: str
    summary: str
    url: str


@dataclass(frozen=True, slots=True)
class Model:
    """A model that an engine needs.

    Attributes:
        name: what people call it, and the name of its folder.
        required_files: without these the engine can't load it.
        licence: of the weights, and of all weights that were made from them.
        source: where the official files are.
    """

    name: str
    required_files: frozenset[str]
    licence: Licence
    source: ModelSource
