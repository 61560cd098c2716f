"""A disk that fails under a voice store's folders."""

import errno
import os
from collections.abc import Callable
from typing import Any

import pytest

from voice_store.files import Folder

__all__ = ["failing_disk"]


def failing_disk(
    monkeypatch: pytest.MonkeyPatch,
    operation: str,
    is_meant: Callable[..., bool],
    *,
    once: bool = False,
) -> None:
    """Has an operation of folders fail with EIO where it is meant.

    Args:
        operation: name of a method of `Folder`.
        is_meant: gets the folder and the method's arguments.
        once: whether it works from the second time on.
    """
    works = getattr(Folder, operation)
    failures = 0

    def fails(folder: Folder, *arguments: Any, **named: Any) -> Any:
        nonlocal failures
        if not (once and failures) and is_meant(folder, *arguments):
            failures += 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return works(folder, *arguments, **named)

    monkeypatch.setattr(Folder, operation, fails)
