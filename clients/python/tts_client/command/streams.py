"""Standard input as text and standard output as audio."""

import sys
from pathlib import Path
from typing import Self

import click

from tts_client.command.failures import Failure

_DASH = Path("-")


def read_text(words: tuple[str, ...], source: Path | None) -> str:
    """The text to speak: the words of the command line, a file, or standard input."""
    if words and source is not None:
        raise click.UsageError("Give either TEXT or -f FILE, not both.")
    if source is not None and source != _DASH:
        return _decode(source.read_bytes(), str(source))
    if words and words != ("-",):
        return " ".join(words)
    if not words and source is None and sys.stdin.isatty():
        raise click.UsageError("Nothing to say: give TEXT, -f FILE, or pipe a text in.")
    return _decode(sys.stdin.buffer.read(), "standard input")


def _decode(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Failure(f"{name} is not UTF-8 text (byte {error.start}).") from None


class AudioOutput:
    """Standard output, written at once. It cannot take back what a failure leaves unfinished."""

    def __init__(self) -> None:
        if sys.stdout.isatty():
            raise click.UsageError("-o - would fill the terminal with audio; pipe it on.")
        self._stream = sys.stdout.buffer

    def write(self, data: bytes) -> None:
        """Hands `data` on."""
        self._stream.write(data)
        self._stream.flush()

    def commit(self, sample_count: int) -> None:
        """Does nothing: all has been handed on."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Leaves standard output open: it belongs to the process."""
