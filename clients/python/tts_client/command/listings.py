"""`tts voices` and `tts info`: what a server has to offer, as tables or JSON."""

import dataclasses
import json
import sys
from typing import TYPE_CHECKING

import click

from tts_client.client import Client
from tts_client.command.settings import Settings, server_option
from tts_client.server_info import FormatInfo, ServerInfo

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

# A lookup that takes longer than this has gone wrong.
_TIMEOUT_S = 30.0
# Output that no person sees is never wrapped or cut to a width.
_UNLIMITED_WIDTH = 10_000

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


@click.command()
@click.option("--language", default="", metavar="TAG", help="Only those that speak it; en, de-DE.")
@click.option("--engine", default="", metavar="NAME", help="Only those of this engine.")
@json_option
@server_option
@click.pass_obj
def voices(settings: Settings, language: str, engine: str, as_json: bool) -> None:
    """List the voices.

    The first column is what `tts say --voice` takes.
    """
    with Client(settings.server, timeout_s=_TIMEOUT_S) as client:
        found = list(client.voices(language=language, engine=engine))
    if as_json:
        _print_json([dataclasses.asdict(voice) for voice in found])
        return
    if not found:
        click.echo("No voice matches.", err=True)
        return
    table = _table("voice", "name", "languages", "engine", "rate")
    for voice in found:
        table.add_row(
            voice.id,
            voice.display_name,
            ", ".join(voice.languages),
            voice.engine,
            f"{voice.sample_rate_hz} Hz",
        )
    _console().print(table)


@click.command()
@json_option
@server_option
@click.pass_obj
def info(settings: Settings, as_json: bool) -> None:
    """Show the server's engines, formats and limits."""
    with Client(settings.server, timeout_s=_TIMEOUT_S) as client:
        answer = client.server_info()
    if as_json:
        _print_json(dataclasses.asdict(answer))
        return
    _print_info(answer, settings.server)


def _print_info(answer: ServerInfo, server: str) -> None:
    click.echo(f"Server {server}, version {answer.version}")
    click.echo(f"Default voice: {answer.default_voice or 'none yet'}")
    limits = answer.limits
    click.echo(
        f"Limits: {limits.max_text_characters} characters, "
        f"speed {limits.min_speed:g} to {limits.max_speed:g}"
    )
    engines = _table("engine", "state", "voices", "languages")
    for engine in answer.engines:
        engines.add_row(
            engine.name, str(engine.state), str(engine.voice_count), ", ".join(engine.languages)
        )
    formats = _table("format", "suffix", "rates (Hz)", "bitrates (b/s)", "media type")
    for entry in answer.formats:
        formats.add_row(
            str(entry.encoding),
            " ".join(f".{suffix}" for suffix in entry.file_suffixes),
            _rates(entry),
            _bitrates(entry),
            entry.content_type,
        )
    console = _console()
    for table in (engines, formats):
        console.print()
        console.print(table)


def _rates(entry: FormatInfo) -> str:
    if entry.sample_rates_hz:
        return ", ".join(map(str, entry.sample_rates_hz))
    return f"{entry.min_sample_rate_hz} to {entry.max_sample_rate_hz}"


def _bitrates(entry: FormatInfo) -> str:
    if not entry.default_bitrate_bps:
        return ""
    return f"{entry.min_bitrate_bps} to {entry.max_bitrate_bps}, else {entry.default_bitrate_bps}"


def _table(*columns: str) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _console() -> "Console":
    from rich.console import Console

    width = None if sys.stdout.isatty() else _UNLIMITED_WIDTH
    return Console(width=width, highlight=False, markup=False, emoji=False)


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, default=str, ensure_ascii=False, indent=2))
