"""A picture of how a voice sounds: its level over time, spectrogram and long-term spectrum."""

import array
import importlib.util
import io
import math
import random
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from tts_client.client import Client
from tts_client.command.failures import Failure
from tts_client.encoding import Encoding
from tts_client.partial_file import PartialFile
from tts_client.voice import Voice

_SUFFIXES = (".png", ".svg", ".pdf")
_LEVEL_WINDOW_S = 0.02
_FULL_SCALE = 32_768
# 1024 samples are 43 ms at 24 kHz: short enough for syllables, long enough for the harmonics of
# low voices.
_SPECTRUM_WINDOW = 1_024
_FLOOR_DB = -100.0

# Sentences with every letter of a language, for they have most of its sounds.
_PANGRAMS = {
    "en": "The quick brown fox jumps over the lazy dog.",
    "cs": "Příliš žluťoučký kůň úpěl ďábelské ódy.",
    "de": "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich.",
    "es": "El veloz murciélago hindú comía feliz cardillo y kiwi.",
    "fr": "Portez ce vieux whisky au juge blond qui fume.",
    "hu": "Árvíztűrő tükörfúrógép.",
    "it": "Pranzo d'acqua fa volti sghembi.",
    "ja": "いろはにほへと、ちりぬるを。",
    "nl": "Pa's wijze lynx bezag vroom het fikse aquaduct.",
    "pl": "Pchnąć w tę łódź jeża lub ośm skrzyń fig.",
    "ru": "Съешь же ещё этих мягких французских булок, да выпей чаю.",
    "tr": "Pijamalı hasta yağız şoföre çabucak güvendi.",
}


class PictureFile(click.ParamType[Path]):
    """A path whose suffix is a kind of picture that can be drawn here."""

    name = "file"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Path:
        path = Path(str(value))
        if path.suffix.lower() not in _SUFFIXES:
            self.fail(f"{path.name!r} must end in {', '.join(_SUFFIXES)}.", param, ctx)
        if importlib.util.find_spec("matplotlib") is None:
            raise Failure("A picture needs an extra: pip install 'PATH_OF_THE_CLONE[plot]'")
        return path


def draw_voice(client: Client, voice: Voice, path: Path) -> None:
    """Has `voice` speak a pangram of its first language, and draws that into a file."""
    language = voice.languages[0].partition("-")[0] if voice.languages else ""
    text = _PANGRAMS.get(language, _PANGRAMS["en"])
    with PartialFile(path) as file:
        with client.synthesize(
            text, voice=voice.id, format=Encoding.PCM_S16LE, timeout_s=math.inf
        ) as speech:
            samples = _samples(speech.read())
            sample_rate_hz = speech.header.format.sample_rate_hz
        if len(samples) < _SPECTRUM_WINDOW:
            raise Failure(f"{voice.id} did not say enough for a picture.")
        file.write(_render(samples, sample_rate_hz, voice.id, path.suffix.lower()[1:]))
        file.commit()


def levels_dbfs(samples: Sequence[float], window: int) -> list[float]:
    """The level of each whole `window` of `samples`, -1 to 1, in decibels below full scale.

    Root mean square, so that a square wave of full scale is 0 and a sine -3; -100 at the lowest.
    """
    powers = (
        math.fsum(sample * sample for sample in samples[start : start + window]) / window
        for start in range(0, len(samples) - window + 1, window)
    )
    floor = 10 ** (_FLOOR_DB / 10)
    return [10 * math.log10(max(power, floor)) for power in powers]


def _samples(data: bytes) -> list[float]:
    """Signed 16-bit little-endian samples as numbers from -1 to 1."""
    numbers = array.array("h", data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return [number / _FULL_SCALE for number in numbers]


def _render(samples: list[float], sample_rate_hz: int, title: str, kind: str) -> bytes:
    # Without pyplot, which would look for a display.
    from matplotlib.figure import Figure

    window = max(1, round(_LEVEL_WINDOW_S * sample_rate_hz))
    levels = levels_dbfs(samples, window)
    times_s = [(index + 0.5) * window / sample_rate_hz for index in range(len(levels))]
    # As loud as the rounding to 16 bits: digital silence has no logarithm.
    dither = random.Random(0)
    heard = [sample + dither.uniform(-0.5, 0.5) / _FULL_SCALE for sample in samples]

    figure = Figure(figsize=(9, 9), layout="constrained")
    level, spectrogram, spectrum = figure.subplots(3)
    level.set_title(f"Voice {title}", parse_math=False)
    level.plot(times_s, levels, linewidth=1)
    level.set(xlabel="time (s)", ylabel="level (dBFS)", ylim=(-80, 0))
    spectrogram.specgram(
        heard, NFFT=_SPECTRUM_WINDOW, Fs=sample_rate_hz, noverlap=_SPECTRUM_WINDOW * 3 // 4
    )
    spectrogram.set(xlabel="time (s)", ylabel="frequency (Hz)")
    for axes in (level, spectrogram):
        axes.set_xlim(0, len(samples) / sample_rate_hz)
    spectrum.psd(heard, NFFT=_SPECTRUM_WINDOW, Fs=sample_rate_hz, noverlap=_SPECTRUM_WINDOW // 2)
    spectrum.set(xlabel="frequency (Hz)", ylabel="power density (dB/Hz)")
    spectrum.set_xlim(0, sample_rate_hz / 2)
    drawn = io.BytesIO()
    figure.savefig(drawn, format=kind)
    return drawn.getvalue()
