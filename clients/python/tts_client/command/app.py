"""The command group: what it shows first, and where the failures of all commands end."""

from typing import Any

import click

from tts_client.command.bench import bench
from tts_client.command.completion import completion
from tts_client.command.failures import INTERRUPTED, Failure, explain
from tts_client.command.info import info
from tts_client.command.say import say
from tts_client.command.settings import Settings, connection_options
from tts_client.command.voices import voices
from tts_client.errors import TtsError

DEFAULT_SERVER = "127.0.0.1:50051"
SERVER_VARIABLE = "TTS_CLIENT_SERVER"


class Tts(click.Group):
    """The group. It turns whatever a command raises into a message and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except TtsError as error:
            raise explain(error, ctx.obj.server) from error
        except BrokenPipeError:
            raise  # click ends in silence when the reader of stdout has gone
        except OSError as error:
            named = f"{error.filename}: " if error.filename else ""
            raise Failure(f"{named}{error.strerror or error}") from error
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            ctx.exit(INTERRUPTED)


@click.group(
    cls=Tts,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=f"""\b
Examples:
  tts say "Hello there."                   speak aloud
  tts say "Hello there." -o hello.mp3      write a file
  tts say -f letter.txt -o letter.opus     a whole text, with a progress bar
  tts voices --language en                 who speaks English
  tts voices add me.m4a --name Me --language en-US
                                           store a voice from a recording
  tts info                                 engines, formats and limits
  tts bench --ramp                         how many callers it has time for

\b
Exit codes:
    0  done
    1  it failed
    2  wrong usage, or values that the server refuses
    3  no server there, or the connection was lost
  130  interrupted

The server is --server, else the variable {SERVER_VARIABLE}, else {DEFAULT_SERVER}. A token
is best kept in a file: what stands in a command line, others can read.
`tts COMMAND --help` tells more.
""",
)
@click.option(
    "--server",
    metavar="HOST:PORT",
    envvar=SERVER_VARIABLE,
    default=DEFAULT_SERVER,
    show_default=True,
    show_envvar=True,
    help="Server to ask.",
)
@connection_options
@click.version_option(package_name="tts-service", prog_name="tts", message="%(prog)s %(version)s")
@click.pass_context
def app(ctx: click.Context, /, **connection: Any) -> None:
    """Turn text into speech with a server of tts.v1."""
    ctx.obj = Settings(**connection)


for _command in (say, voices, info, bench, completion):
    app.add_command(_command)
