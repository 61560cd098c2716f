"""The table of entries: `diskcache.Cache`, with the queries that its own policies lack.

Its LRU policy writes a transaction for each read, which holds up all other readers; and its culling
takes ten rows at a time, however large the value was that came. So it is told to do neither, and
this does both: uses are noted in batches, and just as much is dropped as there is too much.
"""

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import diskcache
from diskcache.core import DEFAULT_SETTINGS, ENOVAL, METADATA

from .seal import unseal
from .sealed_disk import SealedDisk

__all__ = ["Row", "Table"]

_BATCH = 200
_COLUMNS = "rowid, key, tag, size, store_time, access_time, mode, filename, value"
_FOREIGN = "raw IS NOT 1 OR typeof(key) <> 'text'"
_LOCK_TIMEOUT_S = 10.0


class Row(NamedTuple):
    """One entry, as it stands in the table; times in seconds since 1970."""

    rowid: int
    key: str
    tag: Any
    size_bytes: int
    stored_s: float
    used_s: float
    mode: Any
    filename: Any
    value: Any


class Table(diskcache.Cache):  # type: ignore[misc] # it has no types
    """One folder with a database and a file for each value. Any thread, any process.

    Args:
        size_limit_bytes: of the database and the files; 0 for any.
    """

    def __init__(self, folder: Path, size_limit_bytes: int) -> None:
        try:
            super().__init__(
                str(folder),
                timeout=_LOCK_TIMEOUT_S,
                disk=SealedDisk,
                eviction_policy="none",
                cull_limit=0,
                size_limit=size_limit_bytes,
                statistics=0,
            )
            self._sql_retry("CREATE INDEX IF NOT EXISTS Cache_access_time ON Cache (access_time)")
        except BaseException:
            # A connection that is left to the garbage collector keeps its files open till then.
            self.close()
            raise

    def find_damage(self) -> str | None:
        """Says what is wrong with the database; None if nothing is.

        Raises:
            sqlite3.Error: it can't be read, or is laid out otherwise.
        """
        # Not the quick one: it doesn't look whether the indexes fit, by which all is found. For
        # 100,000 entries this takes 0.2 s.
        ((verdict,),) = self._sql("PRAGMA integrity_check(1)").fetchall()
        if verdict != "ok":
            return str(verdict)
        # These only fail if a column or a trigger is not as it should be; nothing is done.
        self._sql(f"SELECT {_COLUMNS}, raw, expire_time, access_count FROM Cache LIMIT 0")
        for change in ("INSERT INTO Cache DEFAULT VALUES", "UPDATE Cache SET size = 0"):
            self._sql(f"EXPLAIN {change}")
        self._sql("EXPLAIN DELETE FROM Cache")
        # The limit goes by these two, which the database counts by itself.
        ((size, count, counted_size, counted),) = self._sql(
            "SELECT coalesce(sum(size), 0), count(*),"
            " (SELECT value FROM Settings WHERE key = 'size'),"
            " (SELECT value FROM Settings WHERE key = 'count') FROM Cache"
        ).fetchall()
        if (size, count) != (counted_size, counted):
            return f"counts {counted} entries of {counted_size} bytes, and has {count} of {size}"
        return None

    def reset(self, key: str, value: Any = ENOVAL, update: bool = True) -> Any:
        """Reads or sets a setting, which is an attribute as well.

        Raises:
            sqlite3.DatabaseError: there is no such setting. One that somebody planted in the
                database would take a method's place.
        """
        if key not in DEFAULT_SETTINGS and key not in METADATA:
            raise sqlite3.DatabaseError(f"there is no setting {key!r}")
        return super().reset(key, value, update)

    def find(self, key: str) -> Row | None:
        """Returns the entry under a key, unless it is over its time."""
        db_key, _ = self.disk.put(key)
        row = self._sql(
            f"SELECT {_COLUMNS} FROM Cache WHERE raw = 1 AND key = ?"
            " AND (expire_time IS NULL OR expire_time > ?)",
            (db_key, time.time()),
        ).fetchone()
        return None if row is None else Row(*row)

    def body(self, row: Row) -> bytes:
        """Reads an entry's file.

        Raises:
            BadValueError: what is there is not what was put. If the entry still is (`has`), it is
                broken; else it was only dropped or replaced in the meantime.
        """
        return unseal(row.key, self.disk.fetch(row.mode, row.filename, row.value, False))

    def has(self, row: Row) -> bool:
        """Whether an entry is still there, neither dropped nor replaced."""
        with self._transact() as (sql, _):  # whoever drops it has dropped it by then
            condition = "rowid = ? AND store_time IS ?"
            return bool(sql(f"SELECT 1 FROM Cache WHERE {condition}", _identity(row)).fetchall())

    def drop(self, row: Row) -> bool:
        """Drops an entry if it is still there, neither dropped nor replaced; says whether."""
        return self.drop_where("rowid = ? AND store_time IS ?", *_identity(row)) > 0

    def known(self, keys: Iterable[str], *, stored_after_s: float = 0.0) -> set[str]:
        """Returns those of the keys that have a row of after this time and within its own."""
        found: set[str] = set()
        for batch in _batches(keys):
            rows = self._sql(
                f"SELECT key FROM Cache WHERE raw = 1 AND key IN ({_marks(batch)})"
                " AND (expire_time IS NULL OR expire_time > ?) AND store_time > ?",
                (*batch, time.time(), stored_after_s),
            )
            found |= {key for (key,) in rows}
        return found

    def touch_all(self, times_s: Mapping[str, float]) -> None:
        """Notes when entries were used last, in one transaction."""
        with self._transact() as (sql, _):
            for key, used_s in times_s.items():
                sql(
                    "UPDATE Cache SET access_time = max(access_time, ?) WHERE raw = 1 AND key = ?",
                    (used_s, key),
                )

    def has_room(self, size_bytes: int) -> bool:
        """Whether so much more is within the limit."""
        return not self.size_limit or self.volume() + size_bytes <= self.size_limit

    def drop_excess(self, coming_bytes: int = 0) -> int:
        """Drops what is over its time, and then what was used least recently, down to the limit.

        Args:
            coming_bytes: of a value for which there is to be room.

        Returns:
            How many entries went for the limit.
        """
        self.expire()
        count = 0
        limit = self.size_limit - coming_bytes
        while not self.has_room(coming_bytes):
            with self._transact() as (sql, clean_up):
                # Not before: another process may have dropped as much while this one waited.
                excess = self.volume() - limit
                doomed: list[int] = []
                for rowid, filename, size in sql(
                    "SELECT rowid, filename, size FROM Cache ORDER BY access_time LIMIT ?",
                    (_BATCH,),
                ).fetchall():
                    if excess <= 0:
                        break
                    doomed.append(rowid)
                    clean_up(filename)
                    excess -= size
                self._delete_rows(sql, doomed)
            if not doomed:
                break
            count += len(doomed)
        return count

    def drop_where(self, condition: str, *arguments: Any) -> int:
        """Drops all entries for which an SQL condition holds; returns how many.

        The files go first: if this breaks off, there is a row without its file, and no file that
        nobody would miss. Some at a time, so that others come to write in between.
        """
        count = 0
        while True:
            with self._transact() as (sql, _):
                rows = sql(
                    f"SELECT rowid, filename FROM Cache WHERE {condition} LIMIT {_BATCH}",
                    arguments,
                ).fetchall()
                for _, filename in rows:
                    self.disk.remove(filename)
                self._delete_rows(sql, [rowid for rowid, _ in rows])
            count += len(rows)
            if len(rows) < _BATCH:
                return count

    def count_foreign(self) -> int:
        """Counts entries whose key is no text; `SealedDisk` writes none."""
        ((count,),) = self._sql(f"SELECT count(*) FROM Cache WHERE {_FOREIGN}").fetchall()
        return int(count)

    def drop_foreign(self) -> int:
        """Drops entries whose key is no text; returns how many there were."""
        return self.drop_where(_FOREIGN)

    def rows(self) -> Iterator[Row]:
        """Yields all entries. What has a key that is no text is left out."""
        last = -(2**63)
        while True:
            batch = [
                Row(*row)
                for row in self._sql(
                    f"SELECT {_COLUMNS} FROM Cache"
                    f" WHERE rowid > ? AND NOT ({_FOREIGN}) ORDER BY rowid LIMIT ?",
                    (last, _BATCH),
                )
            ]
            if not batch:
                return
            last = batch[-1].rowid
            yield from batch

    @property
    def _con(self) -> sqlite3.Connection:
        connection: sqlite3.Connection = super()._con
        # A text with a broken letter is another text, and no reason to read no row at all.
        connection.text_factory = _to_text
        return connection

    @contextmanager
    def _transact(
        self, retry: bool = False, filename: str | None = None
    ) -> Iterator[tuple[Callable[..., sqlite3.Cursor], Callable[[Any], None]]]:
        """As diskcache does; and if it fails, takes back the lock, and the file of the new value.

        A commit that fails, say on a full disk, leaves the transaction open: all others would wait.
        """
        try:
            with super()._transact(retry, filename) as handles:
                yield handles
        except BaseException:
            try:
                if self._con.in_transaction:
                    self._con.rollback()
            finally:
                self.disk.remove(filename)
            raise

    def _delete_rows(self, sql: Any, rowids: list[int]) -> None:
        sql(f"DELETE FROM Cache WHERE rowid IN ({_marks(rowids)})", rowids)


def _identity(row: Row) -> tuple[int, float]:
    return row.rowid, row.stored_s


def _to_text(data: bytes) -> str:
    return data.decode(errors="replace")


def _batches(items: Iterable[Any]) -> Iterator[list[Any]]:
    batch: list[Any] = []
    for item in items:
        batch.append(item)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _marks(items: list[Any]) -> str:
    return ",".join("?" * len(items))
