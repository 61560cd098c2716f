"""Lengths of time as people write and read them."""

import re

import click

__all__ = ["Duration", "span"]

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400
_UNITS_S = {"s": 1, "m": _MINUTE_S, "h": _HOUR_S, "d": _DAY_S, "w": 7 * _DAY_S}
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)([smhdw])", re.ASCII)


class Duration(click.ParamType[float]):
    """Seconds, written with a unit: 90s, 15m, 12h, 30d, 2w."""

    name = "duration"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, float):
            return value
        match = _DURATION.fullmatch(str(value))
        if match is None:
            self.fail(f"{value!r} is no duration such as 90s, 15m, 12h, 30d or 2w.", param, ctx)
        return float(match[1]) * _UNITS_S[match[2]]


def span(seconds: float) -> str:
    """Such as `5 s`, `12 min`, `3 h` or `30 d`."""
    whole = max(0, int(seconds))
    if whole < 2 * _MINUTE_S:
        return f"{whole} s"
    if whole < 2 * _HOUR_S:
        return f"{whole // _MINUTE_S} min"
    if whole < 2 * _DAY_S:
        return f"{whole // _HOUR_S} h"
    return f"{whole // _DAY_S} d"
