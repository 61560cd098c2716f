"""The file of tokens: a JSON object a line, a token each.

It is only ever replaced as a whole, durably, so that a server never reads half of one.
"""

import fcntl
import os
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .reloaded import Reloaded, UnusableFileError
from .token_record import RecordError, TokenRecord
from .token_table import TokenTable

__all__ = ["TOKENS_SETTING", "TokenFile"]

TOKENS_SETTING = "auth.tokens_file"

FILE_MODE = 0o600
# Some 4,000 tokens. It is read on the loop that serves all callers, which takes 30 ms then.
MAX_BYTES = 1 << 20


class TokenFile:
    """Reads and changes a file of tokens.

    Args:
        path: where it lies; links are followed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    def read(self) -> tuple[TokenRecord, ...]:
        """All records, in their order.

        Raises:
            UnusableFileError: there is no file, or it isn't one of tokens, whole.
        """
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            with open(descriptor, "rb") as file:
                status = os.fstat(descriptor)
                if not stat.S_ISREG(status.st_mode):
                    raise self._unusable("is no plain file")
                data = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            raise self._unusable("there is no such file") from None
        except OSError as error:
            raise self._unusable(error.strerror or type(error).__name__) from None
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise self._unusable("others may write to it: chmod 600")
        return self._parse(data)

    def table(self) -> TokenTable:
        """All records, to find tokens in.

        Raises:
            UnusableFileError: as `read`.
        """
        return TokenTable(self.read())

    def watched(self) -> Reloaded[TokenTable]:
        """The table, made anew when the file changes.

        Raises:
            UnusableFileError: as `read`.
        """
        return Reloaded("tokens", [self.path], self.table)

    def change(
        self, change: Callable[[tuple[TokenRecord, ...]], Iterable[TokenRecord]]
    ) -> tuple[TokenRecord, ...]:
        """Replaces all records by what `change` makes of them; makes the file if there is none.

        Others who change it wait meanwhile. What `change` raises leaves the file as it was.

        Returns:
            The new records.

        Raises:
            UnusableFileError: what is there can't be read, or nothing can be written there.
        """
        target = Path(os.path.realpath(self.path))
        try:
            with _locked(target.parent) as folder:
                before = self.read() if target.exists() else ()
                records = tuple(change(before))
                if records != before:
                    self._replace(target, folder, "".join(record.line() for record in records))
        except OSError as error:
            raise self._unusable(error.strerror or type(error).__name__) from None
        return records

    def _replace(self, target: Path, folder: int, text: str) -> None:
        data = text.encode("ascii")
        if len(data) > MAX_BYTES:
            raise self._unusable(f"would be longer than {MAX_BYTES} bytes; remove old lines")
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
        try:
            with open(descriptor, "wb") as file:
                _take_over(target, descriptor)
                file.write(data)
                file.flush()
                os.fsync(descriptor)
            os.replace(name, target)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(name)
            raise
        os.fsync(folder)

    def _parse(self, data: bytes) -> tuple[TokenRecord, ...]:
        if len(data) > MAX_BYTES:
            raise self._unusable(f"is longer than {MAX_BYTES} bytes")
        # An editor that is halfway through has left one of these.
        if not data:
            raise self._unusable("is empty")
        if not data.endswith(b"\n"):
            raise self._unusable("its last line has no end")
        records: dict[str, TokenRecord] = {}
        for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), start=1):
            if not line.strip():
                continue
            try:
                record = TokenRecord.parse(line)
            except RecordError as error:
                raise self._unusable(f"line {number}: {error}") from None
            if record.id in records:
                raise self._unusable(f"line {number}: its id stands in an earlier line, too")
            records[record.id] = record
        if not records:
            raise self._unusable("holds no token")
        return tuple(records.values())

    def _unusable(self, problem: str) -> UnusableFileError:
        return UnusableFileError(TOKENS_SETTING, problem, self.path)


@contextmanager
def _locked(folder: Path) -> Iterator[int]:
    """An open folder that only one at a time has."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _take_over(old: Path, descriptor: int) -> None:
    """Gives the new file the old one's owner and mode: the server reads it as somebody else."""
    try:
        status = os.stat(old)
    except FileNotFoundError:
        os.fchmod(descriptor, FILE_MODE)
        return
    os.fchmod(descriptor, stat.S_IMODE(status.st_mode))
    new = os.fstat(descriptor)
    if (new.st_uid, new.st_gid) != (status.st_uid, status.st_gid):
        os.fchown(descriptor, status.st_uid, status.st_gid)
