"""`tts voices`: who can speak, and the keeping of uploaded voices."""

import sys
from pathlib import Path

import click

from tts_client.command.failures import Refused
from tts_client.command.picture import PictureFile, draw_voice
from tts_client.command.settings import LOOKUP_TIMEOUT_S, Settings, server_option
from tts_client.command.tables import json_option, make_console, make_table, print_json
from tts_client.command.voice_add import add
from tts_client.command.voice_ids import complete_uploaded_voice, complete_voice
from tts_client.command.voice_report import print_voice

language_option = click.option(
    "--language", default="", metavar="TAG", help="Only those that speak it; en, de-DE."
)
engine_option = click.option(
    "--engine", default="", metavar="NAME", help="Only those of this engine."
)


@click.group(
    invoke_without_command=True,
    epilog="""\b
Examples:
  tts voices --language en      who speaks English
  tts voices add me.m4a --name Me --language en-US --id me
                                store a voice from a recording
  tts voices show me            how good its recordings are
  tts say --voice me "Hello."   hear it
  tts voices remove me          delete it
""",
)
@language_option
@engine_option
@json_option
@server_option
@click.pass_context
def voices(ctx: click.Context, language: str, engine: str, as_json: bool) -> None:
    """List the voices, or add, show and remove them.

    Without a command, the voices are listed. The first column is what `tts say --voice` takes.
    """
    if ctx.invoked_subcommand is None:
        _list(ctx.obj, language, engine, as_json)
    elif language or engine or as_json:
        raise click.UsageError(
            f"Options of `{ctx.invoked_subcommand}` stand after it:"
            f" tts voices {ctx.invoked_subcommand} --help tells which."
        )


@voices.command("list")
@language_option
@engine_option
@json_option
@server_option
@click.pass_obj
def list_voices(settings: Settings, language: str, engine: str, as_json: bool) -> None:
    """List the voices, as `tts voices` alone does."""
    _list(settings, language, engine, as_json)


@voices.command(
    epilog="""\b
Examples:
  tts voices show me                    as tables
  tts voices show me --plot me.png      and a picture of how it sounds

The server does not give recordings out. For the picture the voice speaks a short sentence, and
what is drawn is that: its level over time, its spectrogram and its long-term spectrum. It needs
the extra `plot`.
"""
)
@click.argument("voice", metavar="ID", shell_complete=complete_voice)
@click.option(
    "--plot",
    "picture",
    type=PictureFile(),
    metavar="FILE",
    help="Also draw how it sounds into FILE: .png, .svg or .pdf.",
)
@json_option
@server_option
@click.pass_obj
def show(settings: Settings, voice: str, picture: Path | None, as_json: bool) -> None:
    """Show one voice and the report on its recordings."""
    with settings.client(timeout_s=LOOKUP_TIMEOUT_S) as client:
        found = client.voice(voice)
        if as_json:
            print_json(found)
        else:
            print_voice(found)
        if picture is not None:
            draw_voice(client, found, picture)
            click.echo(f"{picture}: how {found.id} sounds", err=True)


@voices.command()
@click.argument("voice", metavar="ID", shell_complete=complete_uploaded_voice)
@click.option("--yes", is_flag=True, help="Do not ask.")
@server_option
@click.pass_obj
def remove(settings: Settings, voice: str, yes: bool) -> None:
    """Delete an uploaded voice.

    Its recordings go, and all that was kept of its speech. On a terminal you are asked first.
    """
    with settings.client(timeout_s=LOOKUP_TIMEOUT_S) as client:
        if not yes:
            name = client.voice(voice).display_name
            if not sys.stdin.isatty():
                raise Refused(f"Nobody is there to ask whether to delete {voice}: give --yes.")
            click.confirm(f"Delete {voice} ({name}) for good?", abort=True, err=True)
        client.delete_voice(voice)
    click.echo(f"{voice}: deleted", err=True)


voices.add_command(add)


def _list(settings: Settings, language: str, engine: str, as_json: bool) -> None:
    with settings.client(timeout_s=LOOKUP_TIMEOUT_S) as client:
        found = list(client.voices(language=language, engine=engine))
    if as_json:
        print_json(found)
        return
    if not found:
        click.echo("No voice matches.", err=True)
        return
    table = make_table("voice", "name", "languages", "engine", "rate", "styles")
    for voice in found:
        table.add_row(
            voice.id,
            voice.display_name,
            ", ".join(voice.languages),
            voice.engine or "none yet",
            f"{voice.sample_rate_hz} Hz" if voice.sample_rate_hz else "",
            ", ".join(voice.styles),
        )
    make_console().print(table)
