"""What a check finds."""

from dataclasses import asdict, dataclass
from enum import StrEnum

__all__ = ["Finding", "State", "fail", "ok", "warn"]


class State(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        check: what was looked at, in a word or two.
        found: what it is like.
        advice: what to do about it; empty if nothing has to be done.
    """

    check: str
    state: State
    found: str
    advice: str = ""

    def line(self) -> str:
        """For people."""
        advice = f"; {self.advice}" if self.advice else ""
        return f"{self.state:<4}  {self.check:<12}  {self.found}{advice}"

    def as_json(self) -> dict[str, str]:
        """For programs."""
        return {name: str(value) for name, value in asdict(self).items()}


def ok(check: str, found: str) -> Finding:
    """All is well."""
    return Finding(check, State.OK, found)


def warn(check: str, found: str, advice: str) -> Finding:
    """It works, and may not always."""
    return Finding(check, State.WARN, found, advice)


def fail(check: str, found: str, advice: str) -> Finding:
    """It doesn't work."""
    return Finding(check, State.FAIL, found, advice)
