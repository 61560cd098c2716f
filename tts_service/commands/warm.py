"""`tts-service cache warm`: has a server speak what it is going to be asked for."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .failure import EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_USAGE, fail

if TYPE_CHECKING:
    from .warmer import Tally

__all__ = ["warm"]

# As the command `tts` has them; see `tts_client.command.app`, which is slow to import.
_SERVER, _SERVER_VARIABLE = "127.0.0.1:50051", "TTS_CLIENT_SERVER"
_CONNECTION = ("token_file", "ca", "cert", "key")
_MAX_FAILURES_SHOWN = 10


def _connection_options(command: Callable[..., None]) -> Callable[..., None]:
    """How the server is reached, beside its address."""
    for name in reversed(_CONNECTION):
        command = click.option(
            f"--{name.replace('_', '-')}",
            type=click.Path(dir_okay=False, path_type=Path),
            metavar="FILE",
            envvar=f"TTS_CLIENT_{name.upper()}",
            help="As the command `tts` has it.",
        )(command)
    tls = click.option(
        "--tls", is_flag=True, envvar="TTS_CLIENT_TLS", help="As the command `tts` has it."
    )
    return tls(command)


@click.command()
@click.argument(
    "source",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
)
@click.option(
    "--server",
    metavar="HOST:PORT",
    envvar=_SERVER_VARIABLE,
    default=_SERVER,
    show_default=True,
    show_envvar=True,
    help="The running server.",
)
@_connection_options
@click.option("--voice", default="", metavar="ID", help="Who speaks.  [default: the server's]")
@click.option(
    "--language", default="", metavar="TAG", help="en-US, de, ...  [default: the voice's]"
)
@click.option(
    "--format", "encoding", metavar="NAME", help="mp3, opus, ...  [default: the server's]"
)
@click.option("--speed", type=float, metavar="X", help="0.5 is half as fast, 2 twice as fast.")
@click.option(
    "--parallel",
    type=click.IntRange(1, 64),
    default=2,
    show_default=True,
    metavar="N",
    help="How many lines at the same time.",
)
def warm(
    source: Path,
    server: str,
    voice: str,
    language: str,
    encoding: str | None,
    speed: float | None,
    parallel: int,
    **connection: Any,
) -> None:
    """Have a server speak each line of FILE, so that it is kept.

    FILE is UTF-8, - is standard input. Blank lines and lines that begin with # are skipped; a line
    that comes twice is spoken once. The audio is thrown away.

    What is kept already goes by in a moment: a run that broke off is continued by the same command.
    A response is kept for its format; another format of it needs no engine any more.

    \b
    Exit status:
      0    all of it is kept
      1    some of it failed, or the server can't be reached
      2    the file or the options can't be used
      130  interrupted
    """
    # As for `serve`.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from tts_client import SpeechOptions, TtsError
    from tts_client.command.failures import explain
    from tts_client.command.settings import Settings

    from .phrases import PhraseFileError, read_phrases
    from .warm_progress import warm_progress
    from .warmer import Tally, Warmer

    options = SpeechOptions(voice=voice, language=language, format=encoding, speed=speed)
    try:
        phrases = read_phrases(source)
    except (OSError, PhraseFileError) as error:
        fail(f"{source}: {error}")
    tally = Tally(len(phrases))
    try:
        with warm_progress(tally) as moved:
            connect = Settings(server, **connection).async_client
            Warmer(connect, options, tally, moved).run(phrases, parallel)
    except KeyboardInterrupt:
        _show_failures(tally)
        click.echo(f"interrupted at {tally}; the same command goes on from there", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except TtsError as error:
        _show_failures(tally)
        click.echo(f"stopped at {tally}", err=True)
        failure = explain(error, server)
        fail(failure.message, EXIT_USAGE if failure.exit_code == EXIT_USAGE else EXIT_FAILURE)
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}")
    _show_failures(tally)
    click.echo(tally)
    sys.exit(EXIT_FAILURE if tally.failures else 0)


def _show_failures(tally: "Tally") -> None:
    for failure in tally.failures[:_MAX_FAILURES_SHOWN]:
        click.echo(f"line {failure.line}: {failure.reason}", err=True)
    if (more := len(tally.failures) - _MAX_FAILURES_SHOWN) > 0:
        click.echo(f"and {more} more", err=True)
