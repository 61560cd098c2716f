"""Where a model lies, and where it is put together until it is whole.

    DATA_DIR/models/NAME/            whole and checked
    DATA_DIR/models/.NAME.partial/   what came so far

The second becomes the first by one rename.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from .errors import BusyError, FolderTakenError
from .source import Licence, Model, ModelFile, ModelSource

__all__ = ["ACCEPTANCE_FILE", "FolderState", "ModelFolder"]

ACCEPTANCE_FILE = "LICENCE_ACCEPTED"


class FolderState(StrEnum):
    """How much of a model is there."""

    ABSENT = "absent"
    PARTIAL = "partial"
    PRESENT = "present"
    UNUSABLE = "unusable"


class ModelFolder:
    """The places of one model.

    Attributes:
        path: the folder that the engine looks into.
        staging: the folder that it is put together in.
    """

    def __init__(self, data_dir: Path, name: str) -> None:
        self._data_dir = data_dir
        self._models_dir = data_dir / "models"
        self.path = self._models_dir / name
        self.staging = self._models_dir / f".{name}.partial"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes away from the folder `models`, which is made if it is missing.

        The lock is of that folder itself and ends with the process, so that a crash leaves none
        behind.

        Raises:
            BusyError: another process has it.
        """
        self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._models_dir.mkdir(exist_ok=True)
        descriptor = os.open(self._models_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BusyError(
                    f"another process is fetching a model into {self._models_dir}"
                ) from None
            yield
        finally:
            os.close(descriptor)

    def state(self, model: Model) -> FolderState:
        """How much is there, by names alone; nothing is read."""
        if self.path.is_dir():
            whole = all((self.path / name).is_file() for name in model.required_files)
            return FolderState.PRESENT if whole else FolderState.UNUSABLE
        return FolderState.PARTIAL if self.staging.is_dir() else FolderState.ABSENT

    def size_bytes(self) -> int:
        """Of all files that are there or have come so far."""
        folder = self.path if self.path.is_dir() else self.staging
        if not folder.is_dir():
            return 0
        return sum(entry.stat().st_size for entry in folder.iterdir() if entry.is_file())

    def free_bytes(self) -> int:
        """Room on its disk for this user."""
        return shutil.disk_usage(self._models_dir).free

    def staged(self, file: ModelFile) -> Path:
        """Where a file waits for the others once it is checked."""
        return self.staging / file.name

    def part(self, file: ModelFile) -> Path:
        """Where the bytes of a file gather. Those of another version gather elsewhere."""
        return self.staging / f"{file.name}.{file.sha256[:16]}.part"

    def part_bytes(self, file: ModelFile) -> int:
        """How many bytes of a file have gathered."""
        try:
            return self.part(file).stat().st_size
        except FileNotFoundError:
            return 0

    def is_accepted(self, licence: Licence, source: ModelSource) -> bool:
        """Whether somebody accepted these terms for these files, which are not all there yet."""
        try:
            record = json.loads((self.staging / ACCEPTANCE_FILE).read_bytes())
        except (OSError, ValueError):
            return False
        return isinstance(record, dict) and record.items() >= _terms(licence, source).items()

    def record_acceptance(self, licence: Licence, source: ModelSource) -> None:
        """Makes the staging folder and notes in it that the terms were accepted just now."""
        self.staging.mkdir(exist_ok=True)
        accepted_at = datetime.now(UTC).isoformat(timespec="seconds")
        record = {**_terms(licence, source), "accepted_at": accepted_at}
        path = self.staging / ACCEPTANCE_FILE
        draft = path.with_suffix(".part")
        draft.write_text(json.dumps(record, indent=2) + "\n")
        _sync(draft)
        draft.replace(path)

    def stage(self, file: ModelFile) -> None:
        """Takes the gathered bytes of a file as the file; they are on the disk then."""
        _sync(self.part(file))
        self.part(file).replace(self.staged(file))

    def publish(self, source: ModelSource) -> None:
        """Puts the whole model where the engine looks for it, in one step.

        Raises:
            FolderTakenError: somebody put something there meanwhile.
        """
        wanted = {ACCEPTANCE_FILE, *(file.name for file in source.files)}
        for entry in self.staging.iterdir():
            if entry.name not in wanted:
                entry.unlink()
        _sync(self.staging)
        try:
            self.staging.rename(self.path)
        except OSError as error:
            raise FolderTakenError(f"{self.path}: {error.strerror}") from error
        _sync(self._models_dir)


def _terms(licence: Licence, source: ModelSource) -> dict[str, str]:
    return {
        "licence": licence.name,
        "text": licence.url,
        "repository": source.repository,
        "revision": source.revision,
    }


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
