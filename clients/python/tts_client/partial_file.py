"""A file that gets its name only when it is whole."""

import contextlib
import errno
import os
import secrets
from pathlib import Path
from types import TracebackType
from typing import Self


class PartialFile:
    """Collects bytes in a hidden file beside `path`, and renames it on `commit()`.

    Without a commit nothing is left behind, and a file that was there before is as it was. What is
    no regular file, such as /dev/null or a named pipe, is written to directly: a rename would
    replace it. A symbolic link stays, and the file that it points to is replaced.
    """

    def __init__(self, path: Path) -> None:
        target = Path(os.path.realpath(path))
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        self._target = target
        self._part: Path | None = None
        if target.exists() and not target.is_file():
            self._file = target.open("wb")
        else:
            self._part = target.with_name(f".tts-{secrets.token_hex(6)}.part")
            # Not tempfile: it makes files that nobody else may read, whatever the umask says.
            self._file = self._part.open("xb")

    def write(self, data: bytes) -> None:
        """Appends `data`."""
        self._file.write(data)

    def commit(self) -> None:
        """Gives the file its name, once its bytes are on the disk."""
        self._file.flush()
        if self._part is not None:
            os.fsync(self._file.fileno())
            self._file.close()
            self._part.replace(self._target)
            self._part = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            with contextlib.suppress(OSError) if error else contextlib.nullcontext():
                self._file.close()
        finally:
            if self._part is not None:
                self._part.unlink(missing_ok=True)
