"""Kinds of option values."""

import math
import re
from typing import Any

import click

_THOUSANDS = re.compile(r"(\d+(?:\.\d+)?)k", re.IGNORECASE)


class VoiceWeight(click.ParamType[tuple[str, float]]):
    """A voice of a mix: ID=WEIGHT."""

    name = "mix"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, float]:
        voice, _, number = str(value).rpartition("=")
        try:
            weight = float(number)
        except ValueError:
            weight = 0.0
        if not (voice and 0.0 < weight < math.inf):
            self.fail(f"{value!r} is not ID=WEIGHT, with a weight above 0.", param, ctx)
        return voice, weight


class Thousands(click.ParamType[int]):
    """A whole number that may be written in thousands: 24000, 24k, 22.05k."""

    def __init__(self, name: str) -> None:
        self.name = name

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        text = str(value).strip()
        if text.isascii() and text.isdigit():
            return int(text)
        match = _THOUSANDS.fullmatch(text)
        number = float(match[1]) * 1000 if match else 0.5
        if not number.is_integer():
            self.fail(f"{text!r} is no whole number; write it as 24000 or 24k.", param, ctx)
        return int(number)


class Finite(click.FloatRange):
    """A number within a range, which `nan` and `inf` are not."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is no number.", param, ctx)
        return float(number)
