"""`tts say`: text in, a file or sound out."""

import math
from contextlib import ExitStack
from pathlib import Path

import click

from tts_client.cache import CACHE_MODE_NAMES, CacheStatus
from tts_client.client import Speech
from tts_client.command.playback import Playback
from tts_client.command.player import Player, find_player
from tts_client.command.progress import Meter, progress_bar
from tts_client.command.settings import Settings, server_option
from tts_client.command.streams import AudioOutput, read_text
from tts_client.command.values import Finite, Thousands, VoiceWeight
from tts_client.command.voice_ids import complete_voice
from tts_client.encoding import FILE_FORMAT_NAMES, Encoding
from tts_client.partial_file import PartialFile
from tts_client.request import SpeechOptions, for_file

_DASH = Path("-")

# What the line at the end says of speech that was not spoken for this call alone.
_ORIGINS = {
    CacheStatus.HIT: ", from the cache",
    CacheStatus.JOINED: ", spoken for another call too",
}


def _to_mix(
    _ctx: click.Context, _param: click.Parameter, pairs: tuple[tuple[str, float], ...]
) -> dict[str, float]:
    mix = dict(pairs)
    if len(mix) < len(pairs):
        raise click.BadParameter("names a voice twice.")
    return mix


@click.command(
    epilog="""\b
Examples:
  tts say Good morning.                            aloud, if a player is installed
  tts say "Good morning." -o morning.mp3           into a file
  tts say "Good morning." -o morning.wav --play    both
  tts say -f letter.txt -o letter.opus --bitrate 24k  a text from a file
  fortune | tts say --voice en_US-joe-medium       from a pipe
  tts say "Both of us." --mix anna=0.7 --mix ben=0.3  in a mix of two voices
  tts say "To the next." -o - | ffmpeg -i - x.m4a  to another program

Without -o the speech is played by the first of ffplay, mpv, mpg123, aplay, play, paplay and afplay
that is installed, while it is being made. A file appears only when it is complete: a failure or
Ctrl-C leaves none, and an older file as it was. A text with nothing to speak, such as "...", makes
no file either; that is said on stderr and is no error.
"""
)
@click.argument("words", nargs=-1, metavar="[TEXT | -]")
@click.option(
    "-f",
    "--file",
    "source",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    metavar="FILE",
    help="Speak the text of FILE (UTF-8). TEXT - and a pipe do the same for standard input.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the audio to FILE; - is standard output.",
)
@click.option(
    "--format",
    "format_name",
    type=click.Choice(FILE_FORMAT_NAMES, case_sensitive=False),
    help="How to encode.  [default: as FILE's suffix says; mp3 for -o -]",
)
@click.option(
    "--voice",
    default="",
    metavar="ID",
    shell_complete=complete_voice,
    help="Who speaks; see `tts voices`.  [default: the server's]",
)
@click.option(
    "--mix",
    type=VoiceWeight(),
    multiple=True,
    callback=_to_mix,
    metavar="ID=WEIGHT",
    help="Speak with a mix of voices; give it once for each, in place of --voice.",
)
@click.option(
    "--style",
    default="",
    metavar="STYLE",
    help="One of the voice's styles.  [default: neutral, or its first]",
)
@click.option(
    "--language", default="", metavar="TAG", help="en-US, de, ...  [default: the voice's]"
)
@click.option(
    "--rate", type=Thousands("rate"), default=0, metavar="HZ", help="Sample rate: 24000, 22.05k."
)
@click.option(
    "--bitrate", type=Thousands("bitrate"), default=0, metavar="BPS", help="Bits a second: 24k."
)
@click.option("--speed", type=float, metavar="X", help="0.5 is half as fast, 2 twice as fast.")
@click.option("--seed", type=int, metavar="N", help="Speak as it was spoken with this seed before.")
@click.option("--temperature", type=float, metavar="X", help="How freely the engine draws, 0 to 2.")
@click.option(
    "--cache",
    type=click.Choice(CACHE_MODE_NAMES, case_sensitive=False),
    help="bypass: speak anew, keep nothing. refresh: speak anew, keep that. only: fail if it is"
    " not kept.  [default: what is kept, or speak and keep]",
)
@click.option("--play", is_flag=True, help="Play it, also when -o is given.")
@click.option(
    "--timeout",
    "timeout_s",
    type=Finite(min=0, min_open=True),
    metavar="SECONDS",
    help="Give up after so long.  [default: never]",
)
@click.option("-q", "--quiet", is_flag=True, help="Print neither a bar nor a line at the end.")
@server_option
@click.pass_obj
def say(
    settings: Settings,
    words: tuple[str, ...],
    source: Path | None,
    output: Path | None,
    format_name: str | None,
    voice: str,
    mix: dict[str, float],
    style: str,
    language: str,
    rate: int,
    bitrate: int,
    speed: float | None,
    seed: int | None,
    temperature: float | None,
    cache: str | None,
    play: bool,
    timeout_s: float | None,
    quiet: bool,
) -> None:
    """Speak TEXT, aloud or into a file."""
    text = read_text(words, source)
    options = SpeechOptions(
        voice=voice,
        voice_mix=mix,
        style=style,
        language=language,
        format=Encoding.parse(format_name) if format_name else None,
        sample_rate_hz=rate,
        bitrate_bps=bitrate,
        speed=speed,
        seed=seed,
        temperature=temperature,
        cache=cache,
    )
    options, player = _settle_format(options, output, play)
    with ExitStack() as stack:
        file: PartialFile | AudioOutput | None = None
        if output == _DASH:
            file = stack.enter_context(AudioOutput())
        elif output is not None:
            file = stack.enter_context(PartialFile(output))
        client = stack.enter_context(settings.client())
        meter = Meter()
        speech = stack.enter_context(
            client.synthesize(text, timeout_s=timeout_s or math.inf, **options)
        )
        playback = None
        if player is not None:
            rate_hz = speech.header.format.sample_rate_hz
            playback = stack.enter_context(Playback(player, rate_hz))
        with progress_bar(not quiet, len(text)) as show:
            for frame in speech:
                meter.count(frame)
                show(meter)
                if file is not None:
                    file.write(frame.data)
                if playback is not None:
                    playback.write(frame.data)
                if file is None and playback is not None and playback.gone:
                    # A person closed the player, or it failed: finish() tells.
                    playback.finish()
                    return
        if not speech.summary.has_audio:
            click.echo("There is nothing in this text that can be spoken.", err=True)
            return
        if file is not None:
            file.commit(speech.summary.sample_count)
        if not quiet and output is not None:
            name = "standard output" if output == _DASH else str(output)
            click.echo(_report(name, meter, speech), err=True)
        if playback is not None:
            playback.finish()
        if not quiet and output is None:
            click.echo(_report("spoken", meter, speech), err=True)


def _report(name: str, meter: Meter, speech: Speech) -> str:
    """One line on how it went: whether it was kept, and the seed that speaks it so again."""
    header = speech.header
    origin = _ORIGINS.get(header.cache_status, "")
    return meter.report(name) + origin + ("" if header.seed is None else f", seed {header.seed}")


def _settle_format(
    options: SpeechOptions, output: Path | None, play: bool
) -> tuple[SpeechOptions, Player | None]:
    """The options with the format that the output asks for, and the player if one is needed.

    The file decides, then the player: each plays some formats only.
    """
    if output is not None and output != _DASH:
        options = for_file(output, options)
    elif output is not None:
        options = {**options, "format": options["format"] or Encoding.MP3}
    if output is not None and not play:
        return options, None
    given = options["format"]
    encoding = Encoding.parse(given) if isinstance(given, str) else given
    player = find_player(encoding)
    return {**options, "format": encoding or player.encodings[0]}, player
