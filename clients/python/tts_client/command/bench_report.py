"""What `tts bench` prints of what it has measured."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from tts_client.command.tables import make_console, make_table
from tts_client.load import FIRST_AUDIO_LIMIT_MS, LoadReport, heard_in_time

if TYPE_CHECKING:
    from rich.table import Table

# Python runs on one core at a time: from here on this side adds to what it measures.
_BUSY_CORES = 0.8


def print_load(report: LoadReport) -> None:
    """Prints one load."""
    load = callers(report.callers) if report.callers else f"{report.rate_per_s:g} calls a second"
    click.echo(f"{load} for {report.elapsed_s:.1f} s, {report.calls} calls")
    table = make_table("", "total", "p50", "p95", "p99", "max")
    table.add_row("failed calls", str(report.errors.total()))
    for name, count in report.errors.most_common():
        table.add_row(f"  {name}", str(count))
    if report.unfinished:
        table.add_row("calls cut off", str(report.unfinished))
    table.add_row("calls with underruns", str(report.underruns))
    table.add_row("seconds of audio each second", _number(report.audio_per_s, 1))
    table.add_row("cores that this command took", _number(report.cores, 2))
    for name, statistic in (
        ("first audio, ms", report.first_audio_ms),
        ("longest gap, ms", report.longest_gap_ms),
    ):
        table.add_row(name, "", *(_number(statistic(share)) for share in (50, 95, 99, 100)))
    _print(table)
    _print_remarks([report])


def print_ramp(steps: Sequence[LoadReport], *, interrupted: bool) -> None:
    """Prints a ramp: a line for each step, and how many callers there was time for."""
    click.echo("First audio and the longest gap in ms, audio in seconds each second")
    table = make_table(
        *("callers", "calls", "failed", "underrun", "first p50", "p95", "gap p99", "audio/s"),
        "in time",
    )
    for step in steps:
        cut = interrupted and step is steps[-1]
        table.add_row(
            str(step.callers),
            str(step.calls),
            str(step.errors.total()),
            str(step.underruns),
            _number(step.first_audio_ms(50)),
            _number(step.first_audio_ms(95)),
            _number(step.longest_gap_ms(99)),
            _number(step.audio_per_s, 1),
            "cut off" if cut else "yes" if heard_in_time(step) else "no",
        )
    _print(table)
    _print_remarks(steps)
    click.echo(_verdict(steps[:-1] if interrupted else steps))
    if interrupted:
        click.echo(f"It was interrupted with {callers(steps[-1].callers)}.")


def most_in_time(steps: Sequence[LoadReport]) -> int:
    """The highest number of callers of a ramp that heard everything in time; 0 if none did."""
    return max((step.callers for step in steps if heard_in_time(step)), default=0)


def callers(count: int) -> str:
    """So many callers, in words."""
    return "1 caller" if count == 1 else f"{count} callers"


def _verdict(steps: Sequence[LoadReport]) -> str:
    verdict = f"{callers(most_in_time(steps))} heard everything in time."
    if steps and not heard_in_time(steps[-1]):
        verdict += f" With {steps[-1].callers}, {_trouble(steps[-1])}."
    return verdict


def _trouble(step: LoadReport) -> str:
    if step.errors:
        return f"{step.errors.total()} of {step.calls} calls failed"
    if step.underruns:
        return f"{step.underruns} of {step.calls} calls had an underrun"
    if step.calls < step.callers:
        return f"only {step.calls} calls began in the time; measure longer, with --duration"
    if math.isnan(step.first_audio_ms(95)):
        return "nothing was heard"
    return f"first audio took more than {FIRST_AUDIO_LIMIT_MS:.0f} ms too often"


def _print(table: "Table") -> None:
    for column in table.columns[1:]:
        column.justify = "right"
    make_console().print(table)


def _print_remarks(reports: Sequence[LoadReport]) -> None:
    """Says what the first failure of each kind said, and if the figures may be our own."""
    messages: dict[str, str] = {}
    for report in reports:
        for heard in report.listenings:
            if heard.error:
                messages.setdefault(heard.error, heard.message)
    for name, message in messages.items():
        click.echo(f"{name}: {message}")
    if any(report.cores > _BUSY_CORES for report in reports):
        click.echo("This command had hardly time left itself: a server may do better than this.")


def _number(value: float, digits: int = 0) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"
