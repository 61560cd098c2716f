"""What was used not too long ago, on disk; shared by all processes that open its folder."""

import os
import shutil
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import diskcache
import structlog

from .seal import BadValueError, sealed_size
from .sealed_disk import VALUE_FILE
from .table import Table

__all__ = ["CacheUnusableError", "DiskTier", "Entry", "Finding"]

_DATABASE = "cache.db"
_DATABASE_FILES = (_DATABASE, f"{_DATABASE}-wal", f"{_DATABASE}-shm")
_SET_ASIDE = "set-aside"
# Primary result codes of SQLite, https://www.sqlite.org/rescode.html
_CIRCUMSTANCES = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
}
# A file that is younger may be of a value that some process is about to enter.
_STRAY_AGE_S = 60.0


class CacheUnusableError(Exception):
    """There can be no cache in this folder.

    Attributes:
        is_broken: whether the database itself is the reason.
    """

    def __init__(self, problem: str, *, is_broken: bool = False) -> None:
        super().__init__(problem)
        self.is_broken = is_broken


@dataclass(frozen=True, slots=True)
class Entry:
    """One value, as the table knows it.

    Attributes:
        marks: what it can be dropped by.
        stored_s: when it was stored, in seconds since 1970.
        used_s: when it was used last.
    """

    key: str
    marks: tuple[str, ...]
    size_bytes: int
    stored_s: float
    used_s: float


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong.

    Attributes:
        what: the key of an entry, or the name of a file.
    """

    what: str
    problem: str


class DiskTier:
    """Bytes by key. All methods block, and may be called by any thread.

    A value that is damaged is a miss and is removed.
    """

    def __init__(self, folder: Path, table: Table) -> None:
        self._folder = folder
        self._table = table

    @classmethod
    def open(cls, folder: Path, *, size_limit_bytes: int) -> "DiskTier":
        """Opens the folder, or makes it. A database that can't be used is set aside.

        Args:
            size_limit_bytes: of all files; one value more may be there for a moment. 0 for any.

        Raises:
            CacheUnusableError: there is no way to have a cache here.
        """
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)
            try:
                return cls(folder, _open_table(folder, size_limit_bytes))
            # What a broken database holds decides what diskcache stumbles over.
            except Exception as error:
                if _is_circumstance(error):
                    raise
                problem = f"{type(error).__name__}: {error}"
                structlog.get_logger().warning(
                    "the cache's database can't be used and is set aside", problem=problem
                )
            _set_aside(folder)
            return cls(folder, _open_table(folder, size_limit_bytes))
        except (OSError, sqlite3.Error, diskcache.Timeout) as error:
            raise CacheUnusableError(f"{type(error).__name__}: {error}") from error

    @classmethod
    def open_existing(cls, folder: Path, *, size_limit_bytes: int) -> "DiskTier | None":
        """Opens the folder as it is: makes none, and sets nothing aside.

        Returns:
            None if there never was a cache.

        Raises:
            CacheUnusableError: the database can't be used.
        """
        try:
            if not (folder / _DATABASE).exists():
                return None
            return cls(folder, _open_table(folder, size_limit_bytes))
        # As in `open`.
        except Exception as error:
            raise CacheUnusableError(
                f"{type(error).__name__}: {error}", is_broken=not _is_circumstance(error)
            ) from error

    @property
    def count(self) -> int:
        """Entries."""
        return len(self._table)

    @property
    def size_bytes(self) -> int:
        """Of the database and all values."""
        return int(self._table.volume())

    def get(self, key: str) -> bytes | None:
        """Returns what was put under a key, or None.

        Raises:
            OSError, sqlite3.Error, diskcache.Timeout: the disk or the database fails.
        """
        if (row := self._table.find(key)) is None:
            return None
        try:
            return self._table.body(row)
        except BadValueError as error:
            if self._table.drop(row):
                structlog.get_logger().warning(
                    "a cached value is broken", key=key, problem=str(error)
                )
            return None

    def known(self, keys: Iterable[str], *, stored_after_s: float = 0.0) -> set[str]:
        """Returns those of the keys that seem to be there, stored after this time."""
        return self._table.known(keys, stored_after_s=stored_after_s)

    def put(
        self, key: str, body: bytes, *, marks: Iterable[str] = (), max_age_s: float | None = None
    ) -> int:
        """Keeps `body` in place of what was under its key; drops others as the limit demands.

        What alone is above the limit is not kept.

        Args:
            marks: what it can be dropped by; without line breaks.
            max_age_s: how long to keep it.

        Returns:
            How many others had to go.

        Raises:
            OSError, sqlite3.Error, diskcache.Timeout: nothing was kept.
        """
        size_bytes = sealed_size(body)
        if self._table.size_limit and size_bytes > self._table.size_limit:
            return 0
        gone = 0
        # Before, so that it is never above the limit; and after, for the pages of its row.
        if not self._table.has_room(size_bytes):
            self.drop([key])
            gone = self._table.drop_excess(size_bytes)
        self._table.set(key, body, expire=max_age_s, tag="\n".join(marks))
        return gone + self._table.drop_excess()

    def touch(self, times_s: Mapping[str, float]) -> set[str]:
        """Notes when entries were used last; returns those that are gone."""
        self._table.touch_all(times_s)
        return set(times_s) - self._table.known(times_s)

    def drop(self, keys: Iterable[str]) -> int:
        """Drops entries by key; returns how many there were."""
        return sum(self._table.drop_where("raw = 1 AND key = ?", key) for key in keys)

    def drop_marked(self, mark: str) -> int:
        """Drops all entries with this mark."""
        return self._table.drop_where("instr(char(10) || tag || char(10), ?)", f"\n{mark}\n")

    def drop_stored_before(self, time_s: float) -> int:
        """Drops all entries that were stored before this time, in seconds since 1970."""
        return self._table.drop_where("store_time < ?", time_s)

    def drop_all(self) -> int:
        """Drops everything."""
        return self._table.drop_where("1")

    def drop_excess(self) -> int:
        """Drops what is over its time or above the limit."""
        return self._table.drop_excess()

    def entries(self) -> Iterator[Entry]:
        """Yields all entries, in the order in which they came first."""
        for row in self._table.rows():
            marks = tuple(row.tag.split("\n")) if row.tag and isinstance(row.tag, str) else ()
            yield Entry(row.key, marks, row.size_bytes, row.stored_s, row.used_s)

    def sweep(self, *, older_than_s: float = _STRAY_AGE_S) -> list[str]:
        """Removes files of no entry, which crashes leave behind; returns their names."""
        strays = list(self._strays(older_than_s))
        for name in strays:
            self._table.disk.remove(name)
        return strays

    def check(self, *, repair: bool) -> Iterator[Finding]:
        """Reads every value, and yields what is wrong; removes it if `repair`."""
        if (damage := self._table.find_damage()) is not None:
            yield Finding(_DATABASE, damage)
        for row in self._table.rows():
            try:
                self._table.body(row)
            except BadValueError as error:
                if self._table.drop(row) if repair else self._table.has(row):
                    yield Finding(row.key, str(error))
        if foreign := self._table.count_foreign():
            yield Finding(_DATABASE, f"holds {foreign} entries that no cache of this kind wrote")
            if repair:
                self._table.drop_foreign()
        for name in self._strays(_STRAY_AGE_S):
            yield Finding(name, "belongs to no entry")
            if repair:
                self._table.disk.remove(name)

    def close(self) -> None:
        """Closes this thread's connection; those of other threads end with them."""
        self._table.close()

    def _strays(self, older_than_s: float) -> Iterator[str]:
        before_s = time.time() - older_than_s
        # Listed before the table is read, or a value that comes between would look stray.
        files = [
            file.relative_to(self._folder).as_posix()
            for file in self._folder.glob("[0-9a-f][0-9a-f]/*/*")
        ]
        entered = {row.filename for row in self._table.rows()}
        for name in files:
            with suppress(OSError):  # somebody was quicker
                if (
                    name not in entered
                    and VALUE_FILE.fullmatch(name)
                    and os.stat(self._folder / name).st_mtime < before_s
                ):
                    yield name


def _open_table(folder: Path, size_limit_bytes: int) -> Table:
    if (misfit := _find_misfit(folder)) is not None:
        raise sqlite3.DatabaseError(misfit)
    table = Table(folder, size_limit_bytes)
    try:
        if (damage := table.find_damage()) is not None:
            raise sqlite3.DatabaseError(damage)
    except BaseException:
        table.close()
        raise
    return table


def _find_misfit(folder: Path) -> str | None:
    """Says why SQLite could only say of this database that the disk won't let it."""
    for name in _DATABASE_FILES:
        if (folder / name).is_dir():
            return f"{name} is a folder"
    try:
        with (folder / _DATABASE).open("rb") as file:
            head = file.read(20)
    except FileNotFoundError:
        return None
    # The versions of the format for writing and for reading: what has later ones is read-only.
    if head[18:] and not {1, 2}.issuperset(head[18:]):
        return "is of a format to come"
    return None


def _is_circumstance(error: Exception) -> bool:
    """Whether it is the disk's or another process's fault, and the database may be whole."""
    if isinstance(error, sqlite3.OperationalError):
        # Python's own have no code.
        return getattr(error, "sqlite_errorcode", 0) & 0xFF in _CIRCUMSTANCES
    return isinstance(error, (OSError, diskcache.Timeout))


def _set_aside(folder: Path) -> None:
    """Moves the database away, and removes the values: a deleted voice may be among them."""
    aside = folder / _SET_ASIDE
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(mode=0o700)
    for name in _DATABASE_FILES:
        with suppress(FileNotFoundError):
            (folder / name).rename(aside / name)
    for values in folder.glob("[0-9a-f][0-9a-f]"):
        shutil.rmtree(values, ignore_errors=True)
