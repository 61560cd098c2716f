"""How answers are printed: as tables for people, as JSON for programs."""

import dataclasses
import json
import sys
from datetime import datetime
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

# Output that no person sees is never wrapped or cut to a width.
_UNLIMITED_WIDTH = 10_000

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


def make_table(*columns: str) -> "Table":
    """An empty table with these headings."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def make_console() -> "Console":
    """Standard output for tables. What is printed on it is never taken for markup."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else _UNLIMITED_WIDTH
    return Console(width=width, highlight=False, markup=False, emoji=False)


def print_json(value: object) -> None:
    """Prints a dataclass, or a list of them. Times are ISO 8601."""
    click.echo(json.dumps(value, default=_plain, ensure_ascii=False, indent=2))


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return value.isoformat() if isinstance(value, datetime) else str(value)
