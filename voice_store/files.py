"""Folders whose changes are atomic and durable.

All names are resolved from an open folder, one at a time and without following links, so that
no name and no link leads out of the store, and so that a folder stays the same one when it is
moved or replaced meanwhile.
"""

import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from . import failpoints
from .errors import StorageFullError

__all__ = [
    "FILE_MODE",
    "FOLDER_MODE",
    "Folder",
    "IrregularFileError",
    "move",
    "storage_full_as_error",
]

FOLDER_MODE = 0o700
FILE_MODE = 0o600

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK, or opening a pipe that somebody put into the store would wait for its writer.
_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_NEW_FILE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_ROOM = frozenset([errno.ENOSPC, errno.EDQUOT, errno.EFBIG])


@contextmanager
def storage_full_as_error() -> Iterator[None]:
    """Raises StorageFullError for the system's errors that mean that there is no room."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise StorageFullError from error
        raise


class IrregularFileError(OSError):
    """An entry is not the plain file of bounded size that it should be."""


class Folder:
    """An open folder. Close it, or use it as a context.

    Args:
        descriptor: of the folder; it is closed with this object.
        label: what the folder is called in failpoints.
    """

    def __init__(self, descriptor: int, label: str) -> None:
        self.descriptor = descriptor
        self.label = label

    @classmethod
    def at(cls, path: Path) -> Self:
        """Opens the folder that a whole store lies in. Links in `path` are followed."""
        return cls(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), "root")

    @classmethod
    def ensure_at(cls, path: Path) -> Self:
        """Opens the folder that a whole store lies in, and makes it first if there is none."""
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        path.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        for folder in missing:
            with cls.at(folder.parent) as parent:
                parent.sync()
        return cls.at(path)

    def open_folder(self, name: str, label: str = "") -> "Folder":
        """Opens a folder in this one.

        Raises:
            FileNotFoundError: there is none.
            NotADirectoryError: it is a file or a link.
        """
        descriptor = os.open(_checked(name), _FOLDER_FLAGS, dir_fd=self.descriptor)
        return Folder(descriptor, label or name)

    def make_folder(self, name: str) -> None:
        """Makes a folder that nobody else may look into.

        Raises:
            FileExistsError: the name is taken.
        """
        os.mkdir(_checked(name), FOLDER_MODE, dir_fd=self.descriptor)
        self._reached(f"{name} made")

    def ensure_folder(self, name: str) -> "Folder":
        """Opens a folder in this one, and makes it first if there is none."""
        with suppress(FileExistsError):
            self.make_folder(name)
            self.sync()
        return self.open_folder(name)

    def write_new(self, name: str, data: bytes) -> None:
        """Writes a file and has its content on the disk when it returns.

        The name is durable after `sync`. What was written in part before an error is removed.

        Raises:
            FileExistsError: the name is taken.
        """
        descriptor = os.open(_checked(name), _NEW_FILE_FLAGS, FILE_MODE, dir_fd=self.descriptor)
        try:
            self._reached(f"{name} created")
            with open(descriptor, "wb", buffering=0) as file:
                rest = memoryview(data)
                while rest:
                    rest = rest[file.write(rest) :]
                self._reached(f"{name} written")
                os.fsync(descriptor)
        except BaseException:
            self.remove(name)
            raise
        self._reached(f"{name} synced")

    def read(self, name: str, max_bytes: int) -> bytes:
        """Returns a file's content.

        Raises:
            FileNotFoundError: there is none.
            IrregularFileError: it is a link, no plain file, or longer.
        """
        try:
            descriptor = os.open(_checked(name), _READ_FLAGS, dir_fd=self.descriptor)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise IrregularFileError(error.errno, "a link", name) from error
            raise
        with open(descriptor, "rb", buffering=0) as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_size > max_bytes:
                raise IrregularFileError(errno.EINVAL, "no plain file, or too long", name)
            return file.readall()

    def names(self) -> list[str]:
        """Returns what is in the folder, in alphabetical order."""
        return sorted(os.listdir(self.descriptor))

    def status(self, name: str) -> os.stat_result:
        """Returns what the system knows of an entry; of a link, not of its target."""
        return os.stat(_checked(name), dir_fd=self.descriptor, follow_symlinks=False)

    def holds(self, name: str, folder: "Folder") -> bool:
        """Whether `folder` is what has this name now."""
        try:
            return os.path.samestat(self.status(name), os.fstat(folder.descriptor))
        except FileNotFoundError:
            return False

    def remove(self, name: str) -> None:
        """Removes a file, a link, or a folder with all that is in it. Follows no links."""
        if stat.S_ISDIR(self.status(name).st_mode):
            shutil.rmtree(name, dir_fd=self.descriptor)
        else:
            os.unlink(name, dir_fd=self.descriptor)
        self._reached(f"{name} removed")

    def sync(self) -> None:
        """Has the names in this folder on the disk when it returns."""
        os.fsync(self.descriptor)
        self._reached("synced")

    def lock(self, *, shared: bool = False) -> None:
        """Waits for this folder's advisory lock, which ends when the folder is closed."""
        fcntl.flock(self.descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)

    def try_lock(self) -> bool:
        """Takes the advisory lock unless somebody has it. Dead processes have none."""
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """Closes the folder. May be called twice."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _reached(self, step: str) -> None:
        failpoints.reach(f"{self.label}: {step}")


def move(source: Folder, name: str, target: Folder, new_name: str) -> None:
    """Moves an entry at once and durably.

    A file takes the place of a file of the new name. A folder takes no folder's place that
    has something in it.

    Raises:
        FileNotFoundError: it is not there.
        FileExistsError: a folder has the name already.
    """
    try:
        os.rename(
            _checked(name),
            _checked(new_name),
            src_dir_fd=source.descriptor,
            dst_dir_fd=target.descriptor,
        )
    except OSError as error:
        if error.errno == errno.ENOTEMPTY:  # POSIX leaves the choice between the two
            raise FileExistsError(errno.EEXIST, "the name is taken", new_name) from error
        raise
    failpoints.reach(f"{source.label} to {target.label}: moved")
    target.sync()
    source.sync()


def _checked(name: str) -> str:
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise ValueError(f"{name!r} is not the name of an entry")
    return name
