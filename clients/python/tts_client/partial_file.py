"""A file that gets its name only when it is whole."""

import contextlib
import errno
import os
import secrets
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from tts_client.headers import complete_header


class PartialFile:
    """Collects bytes in a hidden file beside `path`, and renames it on `commit()`.

    Without a commit nothing is left behind, and a file that was there before is as it was. What is
    no regular file, such as /dev/null or a named pipe, is written to directly: a rename would
    replace it. A symbolic link stays, and the file that it points to is replaced.
    """

    def __init__(self, path: Path) -> None:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        self._part: Path | None = None
        self._file: BinaryIO
        if path.exists() and not path.is_file():
            # By this name: what /dev/stdout is a link to may be "pipe:[7]", which is none.
            self._file = path.open("wb")
        else:
            self._target = target = Path(os.path.realpath(path))
            self._part = target.with_name(f".tts-{secrets.token_hex(6)}.part")
            # Not tempfile: it makes files that nobody else may read, whatever the umask says.
            try:
                self._file = self._part.open("x+b")
            except OSError as error:  # of a name that nobody gave
                raise type(error)(error.errno, error.strerror, str(path)) from None

    def write(self, data: bytes) -> None:
        """Appends `data`."""
        self._file.write(data)

    def commit(self, sample_count: int = 0) -> None:
        """Gives the file its name, once its bytes are on the disk.

        sample_count: of the audio in it, for a header that lacks it; 0 if it is no audio.
        """
        self._file.flush()
        if self._part is not None:
            if sample_count:
                complete_header(self._file, sample_count)
                self._file.flush()
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
