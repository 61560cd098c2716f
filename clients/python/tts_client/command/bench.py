"""`tts bench`: load on a server, and what its callers hear."""

import asyncio
import json
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

import click

from tts_client.cache import CACHE_MODE_NAMES
from tts_client.command.bench_report import most_in_time, print_load, print_ramp
from tts_client.command.bench_run import BenchOutcome, BenchPlan, measure
from tts_client.command.failures import INTERRUPTED
from tts_client.command.settings import Settings, server_option
from tts_client.command.streams import read_text
from tts_client.command.values import Finite, Thousands
from tts_client.command.voice_ids import complete_voice
from tts_client.encoding import FILE_FORMAT_NAMES, Encoding
from tts_client.errors import InvalidArgument
from tts_client.load import SENTENCES
from tts_client.partial_file import PartialFile
from tts_client.request import SpeechOptions

_FAILED = 1


@click.command(
    epilog="""\b
Examples:
  tts bench                                 one caller for 20 s
  tts bench --callers 8 --json eight.json   eight, and every call into a file
  tts bench --rate 5 --duration 60          five calls a second, come what may
  tts bench --ramp                          how many callers there is time for
  tts bench -f texts.txt --format pcm       texts of one's own, one a line
  tts bench --cache default "Hello there."  the cache: only the first call is spoken

The speech is fetched and checked, and played in the mind only: an underrun is that a listener who
plays in real time has played all that has come, and more comes later.

Nothing is kept and nothing kept is used (--cache bypass), so that an engine speaks each call and is
what is measured. Failed calls are not tried again. Before the clock starts one call is made, whose
failure ends the command.

Ctrl-C ends it, and what was measured until then is reported. The exit status is 1 if any call has
failed, in the last step of a ramp too, and 130 after Ctrl-C.
"""
)
@click.argument("words", nargs=-1, metavar="[TEXT]...")
@click.option(
    "-f",
    "--file",
    "source",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    metavar="FILE",
    help="Speak the lines of FILE (UTF-8); - is standard input.  [default: English sentences]",
)
@click.option(
    "--callers",
    type=click.IntRange(1, 10_000),
    metavar="N",
    help="So many callers call one call after another.  [default: 1]",
)
@click.option(
    "--rate",
    type=Finite(min=0, min_open=True, max=10_000),
    metavar="R",
    help="R calls a second begin at random times, however slow the server is.",
)
@click.option(
    "--in-flight-limit",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    metavar="N",
    help="With --rate: calls open at once. One that is due beyond counts as failed, NOT_STARTED.",
)
@click.option(
    "--ramp",
    "ramps",
    is_flag=True,
    help="1, 2, 3, 4, 6, 8, 12, ... callers, until a call fails or has an underrun, or the 95th"
    " percentile of first audio is above a second.",
)
@click.option(
    "--play-out",
    "plays_out",
    is_flag=True,
    help="Callers call again when they have played all, not when they have received it.",
)
@click.option(
    "--duration",
    "duration_s",
    type=Finite(min=0, min_open=True),
    default=20,
    show_default=True,
    metavar="SECONDS",
    help="How long to measure; with --ramp, each step.",
)
@click.option(
    "--warm-up",
    "warm_up_s",
    type=Finite(min=0),
    default=2,
    show_default=True,
    metavar="SECONDS",
    help="How long to call before that; with --ramp, before each step.",
)
@click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    metavar="N",
    help="Draws the order of the texts and the times of --rate.",
)
@click.option(
    "--voice",
    default="",
    metavar="ID",
    shell_complete=complete_voice,
    help="Who speaks; see `tts voices`.  [default: the server's]",
)
@click.option(
    "--language", default="", metavar="TAG", help="en-US, de, ...  [default: the voice's]"
)
@click.option(
    "--format",
    "format_name",
    type=click.Choice(FILE_FORMAT_NAMES, case_sensitive=False),
    help="How to encode.  [default: the server's, mp3]",
)
@click.option(
    "--sample-rate",
    type=Thousands("rate"),
    default=0,
    metavar="HZ",
    help="Sample rate: 24000, 22.05k.",
)
@click.option(
    "--bitrate", type=Thousands("bitrate"), default=0, metavar="BPS", help="Bits a second: 24k."
)
@click.option("--speed", type=float, metavar="X", help="0.5 is half as fast, 2 twice as fast.")
@click.option(
    "--cache",
    type=click.Choice(("default", *CACHE_MODE_NAMES), case_sensitive=False),
    default="bypass",
    show_default=True,
    help="bypass measures the engine. default: what is kept, or speak and keep. only: the cache"
    " alone.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=Finite(min=0, min_open=True),
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="Give a call up after so long.",
)
@click.option(
    "--json",
    "json_path",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write settings, figures and every call to FILE.",
)
@server_option
@click.pass_context
def bench(
    ctx: click.Context,
    words: tuple[str, ...],
    source: Path | None,
    callers: int | None,
    rate: float | None,
    in_flight_limit: int,
    ramps: bool,
    plays_out: bool,
    duration_s: float,
    warm_up_s: float,
    seed: int,
    voice: str,
    language: str,
    format_name: str | None,
    sample_rate: int,
    bitrate: int,
    speed: float | None,
    cache: str,
    timeout_s: float,
    json_path: Path | None,
) -> None:
    """Measure a server under load.

    Each TEXT is a text of its own.
    """
    if (callers is not None) + (rate is not None) + ramps > 1:
        raise click.UsageError("Give one of --callers, --rate and --ramp.")
    if plays_out and rate is not None:
        raise click.UsageError("--play-out is for --callers and --ramp.")
    plan = BenchPlan(
        callers=0 if ramps or rate is not None else callers or 1,
        rate_per_s=rate or 0.0,
        in_flight_limit=in_flight_limit,
        ramps=ramps,
        plays_out=plays_out,
        duration_s=duration_s,
        warm_up_s=warm_up_s,
        timeout_s=timeout_s,
        seed=seed,
    )
    options = SpeechOptions(
        voice=voice,
        language=language,
        format=Encoding.parse(format_name) if format_name else None,
        sample_rate_hz=sample_rate,
        bitrate_bps=bitrate,
        speed=speed,
        cache=cache,
    )
    texts = _texts(words, source)
    settings: Settings = ctx.obj
    with ExitStack() as stack:
        # Opened first: a wrong name should not cost a measurement.
        file = None if json_path is None else stack.enter_context(PartialFile(json_path))
        try:
            outcome = asyncio.run(measure(settings, texts, plan, options))
        except InvalidArgument as error:
            raise _in_our_words(error) from error
        if file is not None:
            document = _document(settings.server, texts, plan, options, outcome)
            file.write(json.dumps(document, ensure_ascii=False, indent=1, default=str).encode())
            file.write(b"\n")
            file.commit()
    if ramps:
        print_ramp(outcome.reports, interrupted=outcome.interrupted)
    else:
        print_load(outcome.reports[0])
    if outcome.interrupted:
        click.echo("Interrupted.", err=True)
        ctx.exit(INTERRUPTED)
    if any(report.errors for report in outcome.reports):
        ctx.exit(_FAILED)


def _texts(words: tuple[str, ...], source: Path | None) -> tuple[str, ...]:
    """The texts to speak: the words of the command line, the lines of a file, or our own."""
    if words and source is not None:
        raise click.UsageError("Give either TEXT or -f FILE, not both.")
    if source is None:
        return words or SENTENCES
    lines = (line.strip() for line in read_text((), source).splitlines())
    texts = tuple(line for line in lines if line)
    if not texts:
        raise click.UsageError("There is no text in the file.")
    return texts


def _in_our_words(error: InvalidArgument) -> InvalidArgument:
    """The same, where --rate is not the sample rate as it is with other commands."""
    violations = (
        replace(violation, field="--sample-rate")
        if violation.field == "format.sample_rate_hz"
        else violation
        for violation in error.violations
    )
    return InvalidArgument(error.message, violations=tuple(violations), reason=error.reason)


def _document(
    server: str,
    texts: tuple[str, ...],
    plan: BenchPlan,
    options: SpeechOptions,
    outcome: BenchOutcome,
) -> dict[str, object]:
    """What the JSON file holds."""
    document: dict[str, object] = {
        "server": server,
        "server_version": outcome.server_version,
        "settings": asdict(plan) | {"options": options, "texts": texts},
        "interrupted": outcome.interrupted,
        "loads": [report.to_json() for report in outcome.reports],
    }
    if plan.ramps:
        judged = outcome.reports[:-1] if outcome.interrupted else outcome.reports
        document["callers_in_time"] = most_in_time(judged)
    return document
