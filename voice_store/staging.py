"""Folders on their way into a store or out of it.

Whoever makes such a folder holds its lock. A folder without a holder was left by a process
that died, and is swept away.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from .audit import AuditedAction, AuditEvent, AuditLog
from .errors import InvalidRecordError
from .files import Folder, move, storage_full_as_error
from .layout import VOICE_FILE, read_voice

__all__ = ["abandoned", "finish_deletion", "move_out", "staged", "sweep"]

_DRAFT = "draft"
_DELETION = "deletion"

_BEGINNING = datetime.min.replace(tzinfo=UTC)


@contextmanager
def staged(staging: Folder) -> Iterator[tuple[str, Folder]]:
    """Makes a locked folder and yields its name with it; removes it unless it was moved."""
    while True:
        name = f"{_DRAFT}-{secrets.token_hex(8)}"
        staging.make_folder(name)
        # A sweeper may have taken it for an abandoned one before it was locked.
        with suppress(FileNotFoundError):
            folder = staging.open_folder(name, _DRAFT)
            folder.lock()
            if staging.holds(name, folder):
                break
            folder.close()
    with folder:
        try:
            yield name, folder
        finally:
            if staging.holds(name, folder):
                staging.remove(name)


def move_out(voices: Folder, voice_id: str, staging: Folder) -> str:
    """Moves a voice's folder, which the caller has locked, into staging; returns its name there.

    From then on the voice is gone for good: `finish_deletion` or a later sweep does the rest.
    """
    name = f"{_DELETION}-{secrets.token_hex(8)}-{voice_id}"
    move(voices, voice_id, staging, name)
    return name


def finish_deletion(
    staging: Folder, name: str, folder: Folder, log: AuditLog, *, resumed: bool = False
) -> None:
    """Erases a voice that `move_out` moved, and sees that the log says so once.

    Args:
        folder: the voice's folder.
        resumed: whether another process began it, and may have logged it.
    """
    voice_id = name.split("-", 2)[-1]
    created, fingerprint = _BEGINNING, ""
    with suppress(InvalidRecordError, OSError):
        voice = read_voice(folder)
        created, fingerprint = voice.create_time, voice.content_fingerprint
    # First what takes room: a full disk must not keep the log from being written.
    for entry in folder.names():
        if entry != VOICE_FILE:
            folder.remove(entry)
    if not resumed or not log.has_deletion(voice_id, created):
        log.append([AuditEvent(AuditedAction.DELETED, voice_id, datetime.now(UTC), fingerprint)])
    staging.remove(name)
    staging.sync()


def abandoned(staging: Folder) -> Iterator[tuple[str, Folder]]:
    """Yields the name of each folder whose maker is dead, and the folder, locked."""
    for name in staging.names():
        with suppress(FileNotFoundError, NotADirectoryError), staging.open_folder(name) as folder:
            if folder.try_lock() and staging.holds(name, folder):
                yield name, folder


def sweep(staging: Folder, log: AuditLog) -> dict[str, OSError | None]:
    """Clears away what dead processes left.

    Returns:
        The name of each, and what kept it from being removed, if anything did.

    Raises:
        StorageFullError: there was no room to log a deletion.
    """
    swept: dict[str, OSError | None] = {}
    for name, folder in abandoned(staging):
        try:
            with storage_full_as_error():
                if name.startswith(f"{_DELETION}-"):
                    finish_deletion(staging, name, folder, log, resumed=True)
                else:
                    staging.remove(name)
                    staging.sync()
        except OSError as error:  # the others go all the same
            swept[name] = error
        else:
            swept[name] = None
    return swept
