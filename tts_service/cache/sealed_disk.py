"""How `diskcache` writes keys and values here: text, and sealed bytes in files. Never a pickle."""

import os
import re
from contextlib import suppress
from typing import Any

import diskcache
from diskcache.core import MODE_BINARY, UNKNOWN

from .seal import BadValueError, seal

__all__ = ["VALUE_FILE", "SealedDisk"]

# Relative to the folder, as `Disk.filename` makes it.
VALUE_FILE = re.compile(r"[0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{28}\.val")

_PIECE_BYTES = 1 << 20


class SealedDisk(diskcache.Disk):  # type: ignore[misc] # it has no types
    """Refuses what `diskcache.Disk` would hand to pickle, which runs what it reads.

    See CVE-2025-69872, for which there is no release. Every value is a file of its own, however
    small: a row that is deleted may leave its bytes in the database, a deleted file doesn't.
    """

    def put(self, key: Any) -> tuple[str, bool]:
        """Writes a key.

        Raises:
            TypeError: it is no text.
        """
        if type(key) is not str:
            raise TypeError(f"a key is text, not {type(key).__name__}")
        return key, True

    def get(self, key: Any, raw: Any) -> str:
        """Reads a key.

        Raises:
            BadValueError: it is a pickle, or no text.
        """
        if not raw or type(key) is not str:
            raise BadValueError("has a key that is no text")
        return key

    def store(self, value: Any, read: Any, key: Any = UNKNOWN) -> tuple[int, int, str, None]:
        """Writes a value into a file; leaves none if that fails.

        Raises:
            TypeError: it is not bytes.
            OSError: the disk is full, or gone.
        """
        if type(value) is not bytes or read:
            raise TypeError(f"a value is bytes, not {type(value).__name__}")
        filename, full_path = self.filename(key, value)
        sealed = seal(key, value)
        try:
            self._write(full_path, (sealed,), "xb")
        except OSError:
            with suppress(OSError):
                os.remove(full_path)
            raise
        return len(sealed), MODE_BINARY, filename, None

    def fetch(self, mode: Any, filename: Any, value: Any, read: Any) -> bytes:
        """Reads a sealed value.

        Raises:
            BadValueError: the row does not name a file of values, or the file is gone.
            OSError: the disk fails.
        """
        if mode != MODE_BINARY or value is not None or read or not _is_value_file(filename):
            raise BadValueError("is no file of values")
        try:
            return _read(os.path.join(self._directory, filename))
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise BadValueError("has lost its file") from None

    def remove(self, file_path: Any) -> None:
        """Removes a value's file, and nothing outside the folder."""
        if _is_value_file(file_path):
            super().remove(file_path)


def _is_value_file(filename: Any) -> bool:
    return isinstance(filename, str) and VALUE_FILE.fullmatch(filename) is not None


def _read(path: str) -> bytes:
    """Reads a file in three system calls, of which each may wait for the interpreter's lock.

    `open` takes seven, and a busy event loop gives the lock away only now and then.
    """
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        pieces = [os.read(file, _PIECE_BYTES)]
        while len(pieces[-1]) == _PIECE_BYTES:
            pieces.append(os.read(file, _PIECE_BYTES))
    finally:
        os.close(file)
    return b"".join(pieces)
