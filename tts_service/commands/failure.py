"""How a command fails: a line on standard error, and an exit status."""

import sys
from typing import NoReturn

import click

__all__ = ["EXIT_FAILURE", "EXIT_INTERRUPTED", "EXIT_USAGE", "fail"]

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


def fail(message: str, status: int = EXIT_USAGE) -> NoReturn:
    """Says what is wrong, each line with the program's name, and exits."""
    for line in message.splitlines():
        click.echo(f"tts-service: {line}", err=True)
    sys.exit(status)
