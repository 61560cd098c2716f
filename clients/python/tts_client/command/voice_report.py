"""What is known of one voice, as tables."""

from collections.abc import Callable

from tts_client.command.tables import make_console, make_table
from tts_client.voice import QualityReport, Voice

# One row each: a style has a dozen figures, a voice seldom more than three styles.
_ROWS: tuple[tuple[str, Callable[[QualityReport], str]], ...] = (
    ("recordings", lambda report: str(report.recording_count)),
    ("length", lambda report: _seconds(report.duration_ms)),
    ("speech", lambda report: _seconds(report.speech_ms)),
    ("kept", lambda report: _seconds(report.kept_ms)),
    ("loudness before", lambda report: f"{report.loudness_before_lufs:.1f} LUFS"),
    ("loudness kept", lambda report: f"{report.loudness_after_lufs:.1f} LUFS"),
    ("true peak before", lambda report: f"{report.true_peak_dbtp:.1f} dBTP"),
    ("clipped", lambda report: f"{report.clipped_share:.3%}"),
    ("signal to noise", lambda report: _decibels(report.signal_to_noise_db)),
    ("bandwidth", lambda report: f"{report.bandwidth_hz / 1000:.1f} kHz"),
)


def print_voice(voice: Voice) -> None:
    """Prints who it is, and the report on its recordings if it was uploaded."""
    table = make_table("voice", voice.id)
    table.add_row("name", voice.display_name)
    table.add_row("origin", str(voice.origin))
    table.add_row("engine", voice.engine or "none yet: no engine that clones is connected")
    table.add_row("languages", ", ".join(voice.languages))
    if voice.sample_rate_hz:
        table.add_row("rate", f"{voice.sample_rate_hz} Hz")
    if voice.styles:
        table.add_row("styles", ", ".join(voice.styles))
    if voice.create_time is not None:
        table.add_row("stored", f"{voice.create_time:%Y-%m-%d %H:%M:%S} UTC")
    if voice.content_fingerprint:
        table.add_row("SHA-256", voice.content_fingerprint)
    make_console().print(table)
    print_quality(voice)


def print_quality(voice: Voice) -> None:
    """Prints the report on the recordings, a column a style, and the warnings under it."""
    if not voice.quality:
        return
    table = make_table("recordings of", *(report.style for report in voice.quality))
    for name, figure in _ROWS:
        table.add_row(name, *(figure(report) for report in voice.quality))
    console = make_console()
    console.print()
    console.print(table)
    for report in voice.quality:
        for warning in report.warnings:
            console.print(f"Warning ({report.style}): {warning.message}", soft_wrap=True)


def _seconds(duration_ms: int) -> str:
    return f"{duration_ms / 1000:.1f} s"


def _decibels(level_db: float | None) -> str:
    return "no pauses to tell" if level_db is None else f"{level_db:.0f} dB"
