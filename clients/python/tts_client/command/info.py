"""`tts info`: what a server is and can do."""

import click

from tts_client.command.settings import LOOKUP_TIMEOUT_S, Settings, server_option
from tts_client.command.sizes import size
from tts_client.command.tables import json_option, make_console, make_table, print_json
from tts_client.server_info import FormatInfo, Limits, ServerInfo


@click.command()
@json_option
@server_option
@click.pass_obj
def info(settings: Settings, as_json: bool) -> None:
    """Show the server's engines, formats and limits."""
    with settings.client(timeout_s=LOOKUP_TIMEOUT_S) as client:
        answer = client.server_info()
    if as_json:
        print_json(answer)
        return
    _print_info(answer, settings.server)


def _print_info(answer: ServerInfo, server: str) -> None:
    click.echo(f"Server {server}, version {answer.version}")
    click.echo(f"Default voice: {answer.default_voice or 'none yet'}")
    click.echo(f"Limits: {_limits(answer.limits)}")
    engines = make_table("engine", "state", "voices", "languages")
    for engine in answer.engines:
        engines.add_row(
            engine.name, str(engine.state), str(engine.voice_count), ", ".join(engine.languages)
        )
    formats = make_table("format", "suffix", "rates (Hz)", "bitrates (b/s)", "media type")
    for entry in answer.formats:
        formats.add_row(
            str(entry.encoding),
            " ".join(f".{suffix}" for suffix in entry.file_suffixes),
            _rates(entry),
            _bitrates(entry),
            entry.content_type,
        )
    console = make_console()
    for table in (engines, formats):
        console.print()
        console.print(table)


def _limits(limits: Limits) -> str:
    words = [
        f"{limits.max_text_characters} characters",
        f"speed {limits.min_speed:g} to {limits.max_speed:g}",
    ]
    if limits.max_upload_bytes:
        consent = " with consent" if limits.consent_required else ""
        words.append(f"uploads of {size(limits.max_upload_bytes)}{consent}")
    return ", ".join(words)


def _rates(entry: FormatInfo) -> str:
    if entry.sample_rates_hz:
        return ", ".join(map(str, entry.sample_rates_hz))
    return f"{entry.min_sample_rate_hz} to {entry.max_sample_rate_hz}"


def _bitrates(entry: FormatInfo) -> str:
    if not entry.default_bitrate_bps:
        return ""
    return f"{entry.min_bitrate_bps} to {entry.max_bitrate_bps}, else {entry.default_bitrate_bps}"
