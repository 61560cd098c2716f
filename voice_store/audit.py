"""The log of what was created and deleted. It only grows, and holds no personal content."""

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from . import failpoints
from .files import FILE_MODE, Folder
from .layout import AUDIT_FILE

__all__ = ["AuditEvent", "AuditLog", "AuditedAction", "audit_log"]

# What is read back after a crash: some 5,000 events.
_TAIL_BYTES = 1 << 20
_BEGINNING = datetime.min.replace(tzinfo=UTC)
_FLAGS = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


class AuditedAction(StrEnum):
    """What can happen to a voice."""

    CREATED = "created"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """What happened to a voice.

    Attributes:
        time: when, in UTC; of a creation the voice's `create_time`.
        content_fingerprint: of the voice; empty if it could not be read any more.
    """

    action: AuditedAction
    voice_id: str
    time: datetime
    content_fingerprint: str


class AuditLog:
    """The opened and locked log. `audit_log` opens it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def append(self, events: Iterable[AuditEvent]) -> None:
        """Writes events and has them on the disk when it returns; else nothing of them.

        Raises:
            OSError: they can't be written.
        """
        lines = [_line(event) for event in events]
        if not lines:
            return
        end = os.lseek(self._descriptor, 0, os.SEEK_END)
        # The last line may have been torn by a power cut.
        torn = end > 0 and os.pread(self._descriptor, 1, end - 1) != b"\n"
        rest = ("\n" * torn + "".join(lines)).encode()
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
            failpoints.reach("audit: written")
            os.fsync(self._descriptor)
        except BaseException:
            os.ftruncate(self._descriptor, end)
            raise
        failpoints.reach("audit: synced")

    def append_missing(self, events: Sequence[AuditEvent]) -> None:
        """Appends those of the events that are not in the log.

        One that is older than the oldest event that is read back is taken for logged.
        """
        logged, are_all = self._recent()
        known = {(event.action, event.voice_id, event.time) for event in logged}
        begin = logged[0].time if logged and not are_all else _BEGINNING
        self.append(
            event
            for event in events
            if event.time >= begin and (event.action, event.voice_id, event.time) not in known
        )

    def has_deletion(self, voice_id: str, after: datetime) -> bool:
        """Whether the log tells of a deletion of the id after a time."""
        events, _ = self._recent()
        return any(
            event.action is AuditedAction.DELETED
            and event.voice_id == voice_id
            and event.time > after
            for event in events
        )

    def _recent(self) -> tuple[list[AuditEvent], bool]:
        """Returns the last events, oldest first, and whether these are all."""
        end = os.lseek(self._descriptor, 0, os.SEEK_END)
        start = max(0, end - _TAIL_BYTES)
        lines = os.pread(self._descriptor, end - start, start).splitlines()
        events = [_event(line) for line in (lines if start == 0 else lines[1:])]
        return [event for event in events if event is not None], start == 0


@contextmanager
def audit_log(root: Folder) -> Iterator[AuditLog]:
    """Opens the log and keeps all others out of it, threads and processes, until the end."""
    try:
        descriptor = os.open(AUDIT_FILE, _FLAGS, dir_fd=root.descriptor)
    except FileNotFoundError:
        descriptor = os.open(AUDIT_FILE, _FLAGS | os.O_CREAT, FILE_MODE, dir_fd=root.descriptor)
        root.sync()
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield AuditLog(descriptor)
    finally:
        os.close(descriptor)


def _line(event: AuditEvent) -> str:
    document = {
        "action": event.action,
        "voice_id": event.voice_id,
        "time": event.time.isoformat(),
        "content_fingerprint": event.content_fingerprint,
    }
    return json.dumps(document) + "\n"


def _event(line: bytes) -> AuditEvent | None:
    """Reads a line; None for one that was torn."""
    try:
        document = json.loads(line)
        return AuditEvent(
            AuditedAction(document["action"]),
            str(document["voice_id"]),
            datetime.fromisoformat(document["time"]).astimezone(UTC),
            str(document["content_fingerprint"]),
        )
    except (ValueError, TypeError, KeyError):
        return None
