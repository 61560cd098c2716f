"""`tts voices add`: recordings in, a voice out."""

import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from tts_client.command.progress import upload_bar
from tts_client.command.settings import Settings, server_option
from tts_client.command.tables import json_option, print_json
from tts_client.command.values import Finite
from tts_client.command.voice_report import print_voice
from tts_client.voice import Consent

_STYLED = re.compile(r"([a-z0-9-]{1,32})=(.+)", re.DOTALL)


class StyledFile(click.ParamType[tuple[str, Path]]):
    """FILE or STYLE=FILE, as the style, empty if there is none, and the path."""

    name = "file"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, Path]:
        text = str(value)
        match = _STYLED.fullmatch(text)
        # A file may be called so.
        style, name = match.groups() if match and not Path(text).exists() else ("", text)
        if not Path(name).is_file():
            self.fail(f"there is no file {name!r}.", param, ctx)
        return style, Path(name)


def _complete_file(
    _ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    return [CompletionItem(incomplete, type="file")]


@click.command(
    epilog="""\b
Examples:
  tts voices add me.m4a --name Me --language en-US
  tts voices add one.wav two.wav --name Zoe --language en-GB --id zoe
  tts voices add neutral=calm.flac cheerful=glad.flac --name Zoe --language en-GB
  tts voices add zoe.mp3 --name Zoe --language en-GB --consent-person "Zoe Lee" \\
      --consent-statement "My voice may speak our announcements." --attested-by "Ann Ray"

Record 10 to 30 s of speech in a quiet room: WAV, FLAC, MP3, Ogg, M4A, AAC or WebM. Files of one
style count together. What the server makes of them is printed as a table, with advice.
"""
)
@click.argument(
    "files",
    nargs=-1,
    required=True,
    metavar="[STYLE=]FILE...",
    type=StyledFile(),
    shell_complete=_complete_file,
)
@click.option("--name", required=True, metavar="NAME", help="Its name for people.")
@click.option(
    "--language",
    required=True,
    metavar="TAG",
    help="The language spoken in the recordings: en-US, de, ...",
)
@click.option(
    "--id", "voice_id", default="", metavar="ID", help="Its id.  [default: the server makes one]"
)
@click.option(
    "--style",
    default="",
    metavar="STYLE",
    help="The style of all FILEs that name none: cheerful, sad, ...  [default: neutral]",
)
@click.option("--consent-person", metavar="NAME", help="Who is heard and consented.")
@click.option("--consent-statement", metavar="TEXT", help="What the person agreed to.")
@click.option("--attested-by", metavar="NAME", help="Who vouches for the consent, given by now.")
@click.option(
    "--timeout",
    "timeout_s",
    type=Finite(min=0, min_open=True),
    metavar="SECONDS",
    help="Give up after so long.  [default: never]",
)
@json_option
@server_option
@click.pass_obj
def add(
    settings: Settings,
    files: tuple[tuple[str, Path], ...],
    name: str,
    language: str,
    voice_id: str,
    style: str,
    consent_person: str | None,
    consent_statement: str | None,
    attested_by: str | None,
    timeout_s: float | None,
    as_json: bool,
) -> None:
    """Store a voice from recordings.

    Each FILE may name its STYLE, so that one voice has several.
    """
    consent = _consent(consent_person, consent_statement, attested_by)
    with settings.client() as client, upload_bar() as show:
        uploaded = client.upload_voice(
            _by_style(files, style),
            name=name,
            language=language,
            voice_id=voice_id,
            consent=consent,
            timeout_s=timeout_s or math.inf,
            on_progress=show,
        )
    if as_json:
        print_json(uploaded.voice)
        return
    print_voice(uploaded.voice)
    if uploaded.voice.engine:
        click.echo(f'\nHear it: tts say --voice {uploaded.voice.id} "Hello."', err=True)


def _by_style(files: Iterable[tuple[str, Path]], default: str) -> dict[str, list[Path]]:
    by_style: dict[str, list[Path]] = {}
    for style, path in files:
        by_style.setdefault(style or default, []).append(path)
    return by_style


def _consent(person: str | None, statement: str | None, attested_by: str | None) -> Consent | None:
    if not (person or statement or attested_by):
        return None
    if not (person and statement and attested_by):
        raise click.UsageError(
            "A consent needs all of --consent-person, --consent-statement and --attested-by."
        )
    return Consent(person, statement, attested_by, datetime.now(UTC))
