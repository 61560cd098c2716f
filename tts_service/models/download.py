"""Fetching a model: the order of the steps."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from .checksum import describe_difference
from .errors import (
    FolderTakenError,
    LicenceNotAcceptedError,
    MissingPackageError,
    NoRoomError,
    WrongContentError,
)
from .folder import ModelFolder
from .progress import Activity, Reporter, size
from .source import Licence, Model, ModelFile, ModelSource

if TYPE_CHECKING:
    from .hub import Hub

__all__ = ["download"]

_NO_ROOM = frozenset([errno.ENOSPC, errno.EDQUOT])


def download(
    model: Model,
    folder: ModelFolder,
    *,
    source: ModelSource,
    accepts: Callable[[Licence], bool],
    reporter: Reporter,
) -> bool:
    """Brings a model into its folder, and checks it.

    What an earlier run left is continued. If the folder is there, it is checked and nothing is
    asked of the network.

    Args:
        model: which one.
        folder: where it goes.
        source: where it comes from, and what exactly; the official files are `model.source`.
        accepts: is asked for the licence, unless it was accepted for what is continued.
        reporter: is told how it goes.

    Returns:
        Whether anything was fetched.

    Raises:
        ModelError: any of those in `errors`. The folder is not there then, or as it was.
        OSError: the disk refuses.
    """
    if _is_there(model, folder, source, reporter):
        return False
    was_accepted = folder.is_accepted(model.licence, source)
    if not was_accepted and not accepts(model.licence):
        raise LicenceNotAcceptedError("the licence was not accepted; nothing was fetched")
    with folder.locked():
        if _is_there(model, folder, source, reporter):  # another process was quicker
            return False
        if not was_accepted:
            folder.record_acceptance(model.licence, source)
        try:
            _gather(folder, source, reporter)
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise NoRoomError(f"{folder.staging}: {error.strerror}") from error
            raise
        folder.publish(source)
    return True


def _is_there(model: Model, folder: ModelFolder, source: ModelSource, reporter: Reporter) -> bool:
    """Whether the folder holds just this.

    Raises:
        FolderTakenError: it holds something else, which may be somebody's own.
    """
    if not folder.path.exists():
        return False
    for file in source.files:
        path = folder.path / file.name
        if path.is_file():
            difference = _difference(path, file, reporter)
        else:  # copied by hand, the licence's text is often left behind
            difference = "missing" if file.name in model.required_files else None
        if difference is not None:
            raise FolderTakenError(
                f"{folder.path} is not {source.repository} at {source.revision}: "
                f"{file.name}: {difference}. Move the folder away to fetch it."
            )
    return True


def _gather(folder: ModelFolder, source: ModelSource, reporter: Reporter) -> None:
    """Has all files staged and checked when it returns."""
    try:
        from .hub import Hub
    except ImportError as error:
        raise MissingPackageError(
            "fetching models needs the package huggingface-hub: "
            "pip install 'PATH_OF_THE_CLONE[xtts]'"
        ) from error
    for file in source.files:
        staged = folder.staged(file)
        if staged.exists() and _difference(staged, file, reporter) is not None:
            staged.unlink()
    missing = [file for file in source.files if not folder.staged(file).exists()]
    missing_bytes = sum(file.size_bytes - folder.part_bytes(file) for file in missing)
    if missing_bytes > folder.free_bytes():
        raise NoRoomError(
            f"{folder.staging} needs {size(missing_bytes)} more; "
            f"the disk has {size(folder.free_bytes())} left"
        )
    hub = Hub(source)
    for file in missing:
        hub.check(file)
    for file in missing:
        _fetch(hub, folder, file, reporter)


def _fetch(hub: "Hub", folder: ModelFolder, file: ModelFile, reporter: Reporter) -> None:
    part = folder.part(file)
    hub.fetch(
        file,
        part,
        moved=lambda done: reporter.moved(Activity.FETCHING, file.name, done, file.size_bytes),
        interrupted=reporter.interrupted,
    )
    difference = _difference(part, file, reporter)
    if difference is not None:
        part.unlink()
        raise WrongContentError(f"what came as {file.name} was removed: {difference}")
    folder.stage(file)


def _difference(path: Path, file: ModelFile, reporter: Reporter) -> str | None:
    return describe_difference(
        path,
        file,
        lambda done: reporter.moved(Activity.CHECKING, file.name, done, file.size_bytes),
    )
