"""How far a download has come: a bar on a terminal, plain lines elsewhere."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

import click

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

__all__ = ["Activity", "Reporter", "progress_reporter", "size"]

# So much takes long enough to come that somebody who reads along wants to see it move.
_LONG_FILE_BYTES = 100_000_000


class Activity(StrEnum):
    """What is done with a file."""

    FETCHING = "fetching"
    CHECKING = "checking"


class Reporter(Protocol):
    """Is told how it goes."""

    def moved(self, activity: Activity, file_name: str, done_bytes: int, total_bytes: int) -> None:
        """So much of the file is done. The first call for an activity says where it begins."""

    def interrupted(self, reason: str, wait_s: float) -> None:
        """The transfer broke off; it goes on after a pause."""


def size(byte_count: int) -> str:
    """Such as `15 B`, `4.0 kB`, `7.8 MB` or `1.87 GB`."""
    if byte_count < 1_000:
        return f"{byte_count} B"
    if byte_count < 1_000_000:
        return f"{byte_count / 1e3:.1f} kB"
    if byte_count < 1_000_000_000:
        return f"{byte_count / 1e6:.1f} MB"
    return f"{byte_count / 1e9:.2f} GB"


@contextmanager
def progress_reporter() -> Iterator[Reporter]:
    """Reports on standard error, as suits what that is."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=Console(stderr=True))
    try:
        yield _Bars(bar)
    finally:
        bar.stop()


class _Lines:
    """A line when something begins, and one for each tenth of a long file that comes."""

    def __init__(self) -> None:
        self._current: tuple[Activity, str] | None = None
        self._tenths = 0

    def moved(self, activity: Activity, file_name: str, done_bytes: int, total_bytes: int) -> None:
        tenths = 10 * done_bytes // max(1, total_bytes)
        if self._current != (activity, file_name):
            self._current = (activity, file_name)
            self._tenths = tenths
            begin = f" from {size(done_bytes)} on" if done_bytes else ""
            click.echo(f"{activity} {file_name}, {size(total_bytes)}{begin}", err=True)
        elif (
            tenths > self._tenths
            and activity is Activity.FETCHING
            and total_bytes >= _LONG_FILE_BYTES
        ):
            self._tenths = tenths
            click.echo(f"{activity} {file_name}: {10 * tenths} %", err=True)

    def interrupted(self, reason: str, wait_s: float) -> None:
        click.echo(f"{reason}; trying again in {wait_s:g} s", err=True)
        self._current = None


class _Bars:
    """A bar for each file, which fetching and checking move one after the other."""

    def __init__(self, bar: "Progress") -> None:
        self._bar = bar
        self._tasks: dict[str, TaskID] = {}
        self._activity: Activity | None = None

    def moved(self, activity: Activity, file_name: str, done_bytes: int, total_bytes: int) -> None:
        text = f"{activity} {file_name}"
        if file_name not in self._tasks:
            self._bar.start()  # not earlier: a question may come before it
            self._tasks[file_name] = self._bar.add_task(
                text, total=total_bytes, completed=done_bytes
            )
        elif activity is not self._activity:
            self._bar.reset(
                self._tasks[file_name], description=text, total=total_bytes, completed=done_bytes
            )
        else:
            self._bar.update(self._tasks[file_name], completed=done_bytes)
        self._activity = activity

    def interrupted(self, reason: str, wait_s: float) -> None:
        self._bar.console.print(f"{reason}; trying again in {wait_s:g} s", markup=False)
