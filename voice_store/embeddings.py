"""Embeddings as files: what engines made of a recording, opaque to the store.

They are safetensors and never pickles, so that reading one runs nothing. They are derived:
one that is lost or broken is made again from the recording.
"""

from urllib.parse import quote, unquote

from safetensors import SafetensorError
from safetensors.numpy import load

from .errors import InvalidEmbeddingError
from .files import Folder, IrregularFileError

__all__ = [
    "embedding_file",
    "parse_embedding_file",
    "read_embedding",
    "require_whole_embedding",
]

_MAX_BYTES = 16 << 20
_MAX_NAME_BYTES = 255
_SUFFIX = ".safetensors"


def embedding_file(engine: str, fingerprint: str, style: str) -> str:
    """Returns the name of the file that holds an embedding.

    Raises:
        ValueError: one of the texts is empty, or they are too long together.
    """
    parts = (engine, fingerprint, style)
    # quote leaves no plus and no slash over, so the parts can be told apart again.
    name = "+".join(quote(part, safe="") for part in parts) + _SUFFIX
    if not all(parts) or len(name) > _MAX_NAME_BYTES:
        raise ValueError("engine, fingerprint and style must make a file's name together")
    return name


def parse_embedding_file(name: str) -> tuple[str, str, str] | None:
    """Returns engine, fingerprint and style of a file that `embedding_file` named, or None."""
    match [unquote(part) for part in name.removesuffix(_SUFFIX).split("+")]:
        case [engine, fingerprint, style] if engine and fingerprint and style:
            known = embedding_file(engine, fingerprint, style) == name
            return (engine, fingerprint, style) if known else None
    return None


def require_whole_embedding(data: bytes) -> None:
    """Checks that the bytes are one safetensors file, with nothing missing and nothing over.

    Raises:
        InvalidEmbeddingError: they are not, or are more than 16 MiB.
    """
    if len(data) > _MAX_BYTES:
        raise InvalidEmbeddingError(f"an embedding of {len(data)} bytes is too long")
    try:
        load(data)
    except SafetensorError as error:
        raise InvalidEmbeddingError("not a whole safetensors file") from error


def read_embedding(folder: Folder, name: str) -> bytes | None:
    """Returns an embedding from its folder, or None if there is none that is whole.

    Raises:
        OSError: the disk failed.
    """
    try:
        data = folder.read(name, _MAX_BYTES)
        require_whole_embedding(data)
    except (FileNotFoundError, IrregularFileError, InvalidEmbeddingError):
        return None
    return data
