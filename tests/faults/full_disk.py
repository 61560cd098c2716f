"""A disk that can be full: a small tmpfs where mounting is allowed, else a limit on file sizes."""

import errno
import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["Disk", "fill", "small_disk"]

_SIZE = "128m"
_PIECE = bytes(1 << 20)
# Beyond this a file can't grow where there is no tmpfs. The spool of an upload is larger.
_FILE_LIMIT_BYTES = 1 << 17


class Disk:
    """A folder, and a way to let no room be in it.

    Attributes:
        is_mounted: whether it is a tmpfs of its own, so that "full" is the kernel's own ENOSPC.
    """

    def __init__(self, folder: Path, *, is_mounted: bool) -> None:
        self.folder = folder
        self.is_mounted = is_mounted

    @contextmanager
    def full(self, writer_pid: int) -> Iterator[None]:
        """Has no room left in it for this process while the context is open."""
        if not self.is_mounted:
            before = resource.prlimit(writer_pid, resource.RLIMIT_FSIZE)
            resource.prlimit(writer_pid, resource.RLIMIT_FSIZE, (_FILE_LIMIT_BYTES, before[1]))
            try:
                yield
            finally:
                resource.prlimit(writer_pid, resource.RLIMIT_FSIZE, before)
            return
        ballast = self.folder / "ballast"
        try:
            fill(ballast)
            yield
        finally:
            ballast.unlink()


@contextmanager
def small_disk(folder: Path) -> Iterator[Disk]:
    """Makes the folder, on a tmpfs of its own if that can be mounted."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "tmpfs", str(folder)]
    is_mounted = os.geteuid() == 0 and _succeeds(command)
    try:
        yield Disk(folder, is_mounted=is_mounted)
    finally:
        if is_mounted:
            # Lazily: whoever still has a file open must not keep it mounted for ever.
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _succeeds(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def fill(path: Path) -> None:
    """Writes until there is no room for another byte."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        for piece in (_PIECE, _PIECE[:4096], b"0"):
            with suppress(_NoRoomError):
                while True:
                    _write(file, piece)
    finally:
        os.close(file)


class _NoRoomError(Exception):
    """The disk is full."""


def _write(file: int, piece: bytes) -> None:
    try:
        if os.write(file, piece) < len(piece):
            raise _NoRoomError
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise _NoRoomError from None
        raise
