"""Looks through a store for what should not be there, and puts right what is safe to.

Nothing that can't be made again is removed: it is moved to `quarantine/`. The check may run
beside a server that uses the store; a voice that is quarantined then can't be spoken with any
more, though the server lists it until it starts again.
"""

import os
import secrets
import stat
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

from .audit import audit_log
from .embeddings import parse_embedding_file, read_embedding
from .errors import (
    InvalidRecordError,
    NewerSchemaError,
    StoreNotFoundError,
    UnreadableRecordingError,
)
from .files import (
    FILE_MODE,
    FOLDER_MODE,
    Folder,
    move,
    storage_full_as_error,
)
from .layout import (
    AUDIT_FILE,
    EMBEDDINGS,
    QUARANTINE,
    STAGING,
    VOICE_FILE,
    VOICES,
    load_voice,
    recording_file,
)
from .recordings import read_recordings
from .records import Finding, StoredVoice
from .staging import abandoned, sweep

__all__ = ["check_store"]

# File systems put lost+found into the root of a mount.
_ROOT_NAMES = frozenset([AUDIT_FILE, QUARANTINE, STAGING, VOICES, "lost+found"])


def check_store(root: Path, *, repair: bool) -> list[Finding]:
    """Checks everything in a store: descriptions, recordings, embeddings, leftovers, rights.

    Recordings are decoded and compared with their fingerprint.

    Args:
        repair: whether to put right what is safe to: leftovers and unusable embeddings are
            removed, broken voices and stray files are moved to `quarantine/`, rights are set.

    Raises:
        StoreNotFoundError: there is no store in this folder.
        StorageFullError: there was no room for a repair.
        OSError: the disk failed.
    """
    with ExitStack() as opened:
        try:
            folder = opened.enter_context(Folder.at(root))
            voices = opened.enter_context(folder.open_folder(VOICES))
            staging = opened.enter_context(folder.open_folder(STAGING))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise StoreNotFoundError(f"there is no voice store in {root}") from error
        check = _Check(folder, voices, staging, repair)
        with storage_full_as_error():
            check.run()
        return check.findings


class _Check:
    """One run over one store."""

    def __init__(self, root: Folder, voices: Folder, staging: Folder, repair: bool) -> None:
        self.findings: list[Finding] = []
        self._root = root
        self._voices = voices
        self._staging = staging
        self._repair = repair

    def run(self) -> None:
        if os.fstat(self._root.descriptor).st_mode & 0o077:
            self._report(
                ".",
                "others may look into the store",
                partial(os.fchmod, self._root.descriptor, FOLDER_MODE),
            )
        for name in self._root.names():
            if name not in _ROOT_NAMES:
                self.findings.append(Finding(name, "nothing of the store's", repaired=False))
            elif name != "lost+found":
                self._check_rights(self._root, name, name)
        self._check_staging()
        for name in self._voices.names():
            try:
                with storage_full_as_error():
                    self._check_entry(name)
            except OSError as error:  # the disk failed, which it may not do another time
                self.findings.append(Finding(name, f"it can't be checked: {error}", repaired=False))

    def _check_staging(self) -> None:
        for name in self._staging.names():
            with suppress(FileNotFoundError):  # its maker is alive, and done with it
                if not _is_folder(self._staging, name):
                    self._report(f"{STAGING}/{name}", "stray", partial(self._staging.remove, name))
        if self._repair:
            with audit_log(self._root) as log:
                left = sweep(self._staging, log)
        else:
            left = {name: None for name, _ in abandoned(self._staging)}
        for name, error in left.items():
            problem = "left by a process that died"
            if error is not None:
                problem += f", and can't be removed: {error}"
            repaired = self._repair and error is None
            self.findings.append(Finding(f"{STAGING}/{name}", problem, repaired))

    def _check_entry(self, name: str) -> None:
        try:
            self._check_rights(self._voices, name, name)
            folder = self._voices.open_folder(name)
        except FileNotFoundError:  # deleted meanwhile
            return
        except NotADirectoryError:
            self._report(name, "it is not a folder", partial(self._quarantine, self._voices, name))
            return
        with folder:
            folder.lock()
            if self._voices.holds(name, folder):
                self._check_voice(name, folder)

    def _check_voice(self, name: str, folder: Folder) -> None:
        for entry in folder.names():
            self._check_rights(folder, entry, name)
        try:
            voice = load_voice(self._voices, name)
            read_recordings(folder, voice)
        except NewerSchemaError as error:
            self.findings.append(Finding(name, str(error), repaired=False))
        except (InvalidRecordError, UnreadableRecordingError) as error:
            self._report(name, str(error), partial(self._quarantine, self._voices, name))
        else:
            known = {VOICE_FILE, EMBEDDINGS, *map(recording_file, voice.styles)}
            for entry in folder.names():
                if entry not in known:
                    self._report(
                        name,
                        f"{entry} does not belong to it",
                        partial(self._quarantine, folder, entry),
                    )
            self._check_embeddings(folder, voice)

    def _check_embeddings(self, folder: Folder, voice: StoredVoice) -> None:
        if EMBEDDINGS not in folder.names():
            return
        if not _is_folder(folder, EMBEDDINGS):
            self._report(
                voice.id,
                f"{EMBEDDINGS} is not a folder",
                partial(self._quarantine, folder, EMBEDDINGS),
            )
            return
        with folder.open_folder(EMBEDDINGS) as embeddings:
            for entry in embeddings.names():
                self._check_rights(embeddings, entry, voice.id)
                parts = parse_embedding_file(entry)
                if parts is None or parts[2] not in voice.styles:
                    self._report(
                        voice.id,
                        f"{entry} does not belong to it",
                        partial(self._quarantine, embeddings, entry),
                    )
                elif read_embedding(embeddings, entry) is None:
                    self._report(
                        voice.id,
                        f"{entry} is not whole",
                        partial(embeddings.remove, entry),
                    )

    def _check_rights(self, folder: Folder, entry: str, place: str) -> None:
        mode = folder.status(entry).st_mode
        right = FOLDER_MODE if stat.S_ISDIR(mode) else FILE_MODE
        if not stat.S_ISLNK(mode) and mode & 0o777 != right:
            self._report(
                place,
                f"the rights of {entry} are {mode & 0o777:o}, not {right:o}",
                partial(os.chmod, entry, right, dir_fd=folder.descriptor),
            )

    def _quarantine(self, folder: Folder, entry: str) -> None:
        with self._root.ensure_folder(QUARANTINE) as quarantine:
            # Names of files are at most 255 bytes long.
            move(folder, entry, quarantine, f"{secrets.token_hex(4)}-{entry[:60]}")

    def _report(self, place: str, problem: str, remedy: Callable[[], None]) -> None:
        if self._repair:
            remedy()
        self.findings.append(Finding(place, problem, self._repair))


def _is_folder(folder: Folder, name: str) -> bool:
    return stat.S_ISDIR(folder.status(name).st_mode)
