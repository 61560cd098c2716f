"""What was made of files, and is made anew when they change."""

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

import structlog

__all__ = ["Reloaded", "UnusableFileError"]

T = TypeVar("T")

# Of each file what changes when it is written or replaced; None for one that isn't there.
_Signature: TypeAlias = tuple[tuple[int, ...] | None, ...]


class UnusableFileError(Exception):
    """A file can't be used.

    Attributes:
        setting: the one that names it.
        problem: what is wrong with it. Holds neither its path nor anything of its content.
        path: where it lies.
    """

    def __init__(self, setting: str, problem: str, path: Path) -> None:
        super().__init__(f"{setting}: {path}: {problem}")
        self.setting = setting
        self.problem = problem
        self.path = path


class Reloaded(Generic[T]):
    """What was made of files. Looks at them, not into them, each time that it is asked.

    A change that can't be used is logged once, and the last good one stands.

    Args:
        what: it is, for the log.
        files: that decide.
        load: makes it of them; raises UnusableFileError.

    Raises:
        UnusableFileError: `load` failed for the first time.
    """

    def __init__(self, what: str, files: Sequence[Path], load: Callable[[], T]) -> None:
        self._what = what
        self._files = tuple(files)
        self._load = load
        self._lock = threading.Lock()
        # Looked at before they are read: whatever changes meanwhile is found the next time.
        self._seen = self._look()
        self._value = load()

    def current(self) -> T:
        """The last good one."""
        if self._look() != self._seen:
            with self._lock:
                self._catch_up()
        return self._value

    def _catch_up(self) -> None:
        signature = self._look()
        if signature == self._seen:  # another thread was quicker
            return
        try:
            self._value = self._load()
        except UnusableFileError as error:
            structlog.get_logger().error(
                "a changed file can't be used; what was read before still counts",
                setting=error.setting,
                problem=error.problem,
            )
        else:
            structlog.get_logger().info("a changed file was read", what=self._what)
        self._seen = signature

    def _look(self) -> _Signature:
        return tuple(map(_signature, self._files))


def _signature(path: Path) -> tuple[int, ...] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )
