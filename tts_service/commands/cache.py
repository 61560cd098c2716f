"""`tts-service cache`: looks at what is kept of what was spoken, and looks after it."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .duration import Duration, span
from .failure import EXIT_FAILURE, fail
from .places import places, read_settings
from .warm import warm

if TYPE_CHECKING:
    from ..cache import DiskTier
    from ..config import Settings
    from .kept_speech import KeptSpeech

__all__ = ["cache"]

_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


@click.group()
def cache() -> None:
    """Look after the speech that the server keeps.

    All of these may run beside a server: as its user, and with the same --data-dir or --config.

    \b
    Exit status:
      0  done
      1  it failed, or something is wrong with what is kept
      2  wrong usage, or no speech was ever kept there
    """


cache.add_command(warm)


@cache.command()
@places
@_json_option
def stats(data_dir: Path | None, config_file: Path | None, as_json: bool) -> None:
    """Show how much is kept, of what, and for which voices.

    The voices are the ten with the most bytes. A mix counts for each of its voices.
    """
    with _opened(data_dir, config_file) as place:
        from .stock import Stock

        limit_bytes = place.settings.cache.size_limit_bytes
        stock = Stock(place.folder, place.disk.size_bytes, limit_bytes)
        stock.add_all(place.speech())
    if as_json:
        click.echo(json.dumps(stock.as_json(), ensure_ascii=False, indent=2))
        return
    for line in stock.lines(time.time()):
        click.echo(line)


@cache.command("list")
@places
@click.option("--voice", metavar="ID", help="Only what this voice speaks, mixes included.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    metavar="N",
    help="How many at the most.",
)
@_json_option
def list_entries(
    data_dir: Path | None, config_file: Path | None, voice: str | None, limit: int, as_json: bool
) -> None:
    """List what is kept, a line each, what was used last first.

    Says on standard error how many more there are. A server notes uses every two seconds.
    """
    with _opened(data_dir, config_file) as place:
        found = sorted(place.speech(voice), key=lambda speech: -speech.used_s)
    now_s = time.time()
    for speech in found[:limit]:
        line = json.dumps(speech.as_json(), ensure_ascii=False) if as_json else speech.line(now_s)
        click.echo(line)
    if len(found) > limit:
        click.echo(f"and {len(found) - limit} more; see --limit", err=True)
    elif not found:
        click.echo("nothing is kept", err=True)


@cache.command()
@places
@click.option("--voice", metavar="ID", help="What this voice speaks, mixes included.")
@click.option(
    "--older-than",
    "age_s",
    type=Duration(),
    metavar="DURATION",
    help="What was stored longer ago than 90s, 15m, 12h, 30d, 2w.",
)
@click.option("--all", "everything", is_flag=True, help="Everything.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def purge(
    data_dir: Path | None,
    config_file: Path | None,
    voice: str | None,
    age_s: float | None,
    everything: bool,
    yes: bool,
) -> None:
    """Remove what is kept: --voice, --older-than, both at once, or --all.

    --voice and --older-than together remove what is both. At a terminal it asks first.

    A running server may also have in memory what is removed here. It finds out within seconds
    after it has answered with it once more.
    """
    if everything is (voice is not None or age_s is not None):
        raise click.UsageError("Give --voice, --older-than or both; or --all.")
    with _opened(data_dir, config_file) as place:
        before_s = None if age_s is None else time.time() - age_s
        doomed = [
            speech
            for speech in place.speech(voice)
            if before_s is None or speech.stored_s < before_s
        ]
        if doomed and not yes and sys.stdin.isatty():
            _ask(f"Remove {_amount(doomed)}{_condition(voice, age_s)}?")
        gone = [speech for speech in doomed if place.disk.drop([speech.key])]
        if everything:  # and what no cache of this kind wrote
            place.disk.drop_all()
    click.echo(f"removed {_amount(gone)}")


@cache.command()
@places
@click.option("--repair", is_flag=True, help="Remove what is wrong.")
def check(data_dir: Path | None, config_file: Path | None, repair: bool) -> None:
    """Read everything that is kept and check that it is whole.

    What a repair removes is spoken again when it is asked for.

    Exit status: 0 all is well or was repaired, 1 something is wrong, 2 no speech was ever kept
    there.
    """
    with _opened(data_dir, config_file) as place:
        findings = list(place.disk.check(repair=repair))
        still_wrong = {finding.what for finding in findings}
        if findings and repair:
            still_wrong &= {finding.what for finding in place.disk.check(repair=False)}
    for finding in findings:
        mark = "wrong" if finding.what in still_wrong else "repaired"
        click.echo(f"{mark:<8}  {finding.what}: {finding.problem}")
    click.echo(f"{len(findings)} finding(s), {len(still_wrong)} still wrong")
    sys.exit(EXIT_FAILURE if still_wrong else 0)


@dataclass(frozen=True, slots=True)
class _Place:
    """A cache that is open."""

    settings: "Settings"
    folder: Path
    disk: "DiskTier"

    def speech(self, voice: str | None = None) -> Iterator["KeptSpeech"]:
        """All entries, or those of a voice."""
        from .kept_speech import KeptSpeech

        for speech in map(KeptSpeech.of_entry, self.disk.entries()):
            if voice is None or voice in speech.voices:
                yield speech


@contextmanager
def _opened(data_dir: Path | None, config_file: Path | None) -> Iterator[_Place]:
    """The cache that the options mean. Exits if there is none, or if it fails meanwhile."""
    settings = read_settings(data_dir, config_file)
    import sqlite3

    import diskcache

    from ..cache import CacheUnusableError, DiskTier

    folder = settings.cache.folder(settings.data_dir)
    try:
        disk = DiskTier.open_existing(folder, size_limit_bytes=settings.cache.size_limit_bytes)
    except CacheUnusableError as error:
        advice = "\nA server that starts there sets it aside and begins a new one."
        fail(f"{folder}: the cache can't be used: {error}{advice * error.is_broken}", EXIT_FAILURE)
    if disk is None:
        fail(f"no speech was ever kept in {folder}")
    try:
        yield _Place(settings, folder, disk)
    except (OSError, sqlite3.Error, diskcache.Timeout) as error:
        fail(f"{folder}: {type(error).__name__}: {error}", EXIT_FAILURE)
    finally:
        disk.close()


def _ask(question: str) -> None:
    """Exits unless the person at the terminal agrees."""
    if not click.confirm(question, default=False, err=True):
        fail("nothing was removed", EXIT_FAILURE)


def _amount(speech: list["KeptSpeech"]) -> str:
    from ..models.progress import size

    entries = "1 entry" if len(speech) == 1 else f"{len(speech)} entries"
    return f"{entries}, {size(sum(one.size_bytes for one in speech))}"


def _condition(voice: str | None, age_s: float | None) -> str:
    words = "" if voice is None else f" of {voice}"
    return words if age_s is None else f"{words} stored more than {span(age_s)} ago"
