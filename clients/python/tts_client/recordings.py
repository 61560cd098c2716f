"""The recordings of an upload: files by their styles."""

import errno
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TypeAlias

from tts_client.errors import InvalidArgument

Paths: TypeAlias = str | PathLike[str] | Iterable[str | PathLike[str]]
Recordings: TypeAlias = Paths | Mapping[str, Paths]


@dataclass(frozen=True, slots=True)
class RecordingFile:
    """One recording. An empty `style` is the server's default, `neutral`."""

    style: str
    path: Path
    size_bytes: int


def find_recordings(recordings: Recordings) -> tuple[RecordingFile, ...]:
    """The files that are meant, in their order, each known to be there and readable.

    recordings: one path, several, or either by style: `{"neutral": "a.wav", "sad": ["b.mp3"]}`.

    Raises `InvalidArgument` if there is none, `OSError` for a file that cannot be read.
    """
    by_style = recordings if isinstance(recordings, Mapping) else {"": recordings}
    found = tuple(_find(style, path) for style, paths in by_style.items() for path in _each(paths))
    if not found:
        raise InvalidArgument.of_field("recording", "there must be at least one")
    return found


def _each(paths: Paths) -> Iterable[str | PathLike[str]]:
    return (paths,) if isinstance(paths, str | PathLike) else paths


def _find(style: str, path: str | PathLike[str]) -> RecordingFile:
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if not stat.S_ISREG(status.st_mode):
        # A pipe has no size to show progress by, and nothing to send again.
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
    with open(path, "rb"):
        return RecordingFile(style, Path(path), status.st_size)
