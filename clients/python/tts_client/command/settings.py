"""The settings that all commands share, and the option that sets them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

# A lookup that takes longer than this has gone wrong.
LOOKUP_TIMEOUT_S = 30.0


@dataclass(slots=True)
class Settings:
    """What the options of the group, or the same ones after a command, have settled."""

    server: str


def server_option(command: F) -> F:
    """Lets `--server` stand after the command as well as before it."""

    def override(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
        if value is not None and not ctx.resilient_parsing:
            ctx.obj.server = value

    return click.option(
        "--server",
        metavar="HOST:PORT",
        expose_value=False,
        callback=override,
        help="Server to ask, as before the command.",
    )(command)
