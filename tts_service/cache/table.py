"""The table of entries: `diskcache.Cache`, with the queries that its own policies lack.

Its LRU policy writes a transaction for each read, which holds up all other readers; and its culling
takes ten rows at a time, however large the value was that came. So it is told to do neither, and
this does both: uses are noted in batches, and just as much is dropped as there is too much.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import diskcache

from .sealed_disk import SealedDisk

__all__ = ["Table"]

_BATCH = 500
_FOREIGN = "raw <> 1 OR typeof(key) <> 'text'"
_LOCK_TIMEOUT_S = 10.0


class Table(diskcache.Cache):  # type: ignore[misc] # it has no types
    """One folder with a database and a file for each value. Any thread, any process.

    Args:
        size_limit_bytes: of the database and the files; 0 for any.
    """

    def __init__(self, folder: Path, size_limit_bytes: int) -> None:
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

    def find_damage(self) -> str | None:
        """Says what is wrong with the database; None if nothing is."""
        ((verdict,),) = self._sql("PRAGMA quick_check(1)").fetchall()
        return None if verdict == "ok" else str(verdict)

    def known(self, keys: Iterable[str]) -> set[str]:
        """Returns those of the keys that have a row that is not over its time."""
        found: set[str] = set()
        for batch in _batches(keys):
            rows = self._sql(
                f"SELECT key FROM Cache WHERE raw = 1 AND key IN ({_marks(batch)})"
                " AND (expire_time IS NULL OR expire_time > ?)",
                (*batch, time.time()),
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

    def drop_excess(self) -> int:
        """Drops what is over its time, and then what was used least recently, down to the limit.

        Returns:
            How many entries went for the limit.
        """
        self.expire()
        count = 0
        while self.size_limit and (excess := self.volume() - self.size_limit) > 0:
            with self._transact() as (sql, clean_up):
                doomed: list[int] = []
                for rowid, filename, size in sql(
                    "SELECT rowid, filename, size FROM Cache ORDER BY access_time LIMIT ?",
                    (_BATCH,),
                ).fetchall():
                    doomed.append(rowid)
                    clean_up(filename)
                    excess -= size
                    if excess <= 0:
                        break
                self._delete_rows(sql, doomed)
            if not doomed:
                break
            count += len(doomed)
        return count

    def drop_where(self, condition: str, *arguments: Any) -> int:
        """Drops all entries for which an SQL condition holds; returns how many.

        The files go first: if this breaks off, there is a row without its file, and no file that
        nobody would miss.
        """
        count = 0
        with self._transact() as (sql, _):
            rows = sql(f"SELECT rowid, filename FROM Cache WHERE {condition}", arguments).fetchall()
            for _, filename in rows:
                self.disk.remove(filename)
            for batch in _batches(rowid for rowid, _ in rows):
                self._delete_rows(sql, batch)
                count += len(batch)
        return count

    def count_foreign(self) -> int:
        """Counts entries whose key is no text; `SealedDisk` writes none."""
        ((count,),) = self._sql(f"SELECT count(*) FROM Cache WHERE {_FOREIGN}").fetchall()
        return int(count)

    def drop_foreign(self) -> int:
        """Drops entries whose key is no text; returns how many there were."""
        return self.drop_where(_FOREIGN)

    def rows(self) -> Iterator[tuple[Any, Any, int, float, float, Any]]:
        """Yields key, tag, size in bytes, time of storing, time of use and file of all entries.

        What has a key that is no text is left out.
        """
        last = 0
        while True:
            batch = self._sql(
                "SELECT rowid, key, tag, size, store_time, access_time, filename FROM Cache"
                f" WHERE rowid > ? AND NOT ({_FOREIGN}) ORDER BY rowid LIMIT ?",
                (last, _BATCH),
            ).fetchall()
            if not batch:
                return
            last = batch[-1][0]
            for _, *row in batch:
                yield tuple(row)

    def _delete_rows(self, sql: Any, rowids: list[int]) -> None:
        sql(f"DELETE FROM Cache WHERE rowid IN ({_marks(rowids)})", rowids)


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
