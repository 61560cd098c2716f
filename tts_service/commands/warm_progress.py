"""How far `cache warm` has come: a bar on a terminal, plain lines elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from .warmer import Tally

__all__ = ["warm_progress"]


@contextmanager
def warm_progress(tally: Tally) -> Iterator[Callable[[], None]]:
    """Reports on standard error, as suits what that is. Gives the function that looks again."""
    if not sys.stderr.isatty():
        yield _lines(tally)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (BarColumn(), MofNCompleteColumn(), Remaining(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(tally.outcome, total=tally.total)
        yield lambda: bar.update(task, completed=tally.done, description=tally.outcome)


def _lines(tally: Tally) -> Callable[[], None]:
    """A line for each tenth; none for the last, which the end tells."""
    told = 0

    def look() -> None:
        nonlocal told
        tenths = 10 * tally.done // tally.total
        if told < tenths < 10:
            told = tenths
            click.echo(tally, err=True)

    return look
