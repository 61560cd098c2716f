"""Asking the person at the terminal whether they accept a licence."""

import sys

import click

from .errors import LicenceNotAcceptedError
from .source import Licence

__all__ = ["ask_at_terminal"]


def ask_at_terminal(licence: Licence) -> bool:
    """Shows what the licence asks and returns whether the answer is yes.

    Raises:
        LicenceNotAcceptedError: there is no terminal.
    """
    text = f"The model is under the {licence.name}.\n{licence.summary}\nIts text: {licence.url}"
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise LicenceNotAcceptedError(
            f"{text}\nThere is no terminal to ask at: accept it with --accept-licence."
        )
    click.echo(text, err=True)
    return click.confirm("Do you accept it?", default=False, err=True)
