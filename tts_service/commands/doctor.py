"""`tts-service doctor`: looks at everything that may keep a server from speaking."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .failure import EXIT_FAILURE
from .places import places

if TYPE_CHECKING:
    from rich.status import Status

    from ..doctor import Finding

__all__ = ["doctor"]


@click.command()
@places
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs, at the end.")
@click.option("--no-speech", is_flag=True, help="Start no private server to hear it speak.")
def doctor(data_dir: Path | None, config_file: Path | None, as_json: bool, no_speech: bool) -> None:
    """Look whether a server with these settings can serve, and hear it speak.

    Looks at settings, packages, addresses, disk, limits of the system, memory, cache, voices,
    codecs and models. Then it starts a private server with the same engines, has it say a
    sentence in a few encodings, and listens. Prints a line for each thing: ok, warn or fail, and
    what to do about it.

    May run beside a server, as its user and with its settings. Takes a few seconds; longer if there
    is much to read.

    \b
    Exit status:
      0  all is well, warnings aside
      1  something failed
      2  wrong usage
    """
    # gRPC's own lines tell an operator nothing that ours don't.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from ..doctor import State

    findings = []
    progress = _Progress()
    try:
        for finding in _findings(data_dir, config_file, not no_speech, progress.begin):
            findings.append(finding)
            progress.end()
            if not as_json:
                click.echo(finding.line())
    finally:
        progress.end()
    failed = any(finding.state is State.FAIL for finding in findings)
    if as_json:
        report = {"ok": not failed, "findings": [finding.as_json() for finding in findings]}
        click.echo(json.dumps(report, ensure_ascii=False, indent=2))
    sys.exit(EXIT_FAILURE if failed else 0)


def _findings(
    data_dir: Path | None, config_file: Path | None, speaks: bool, on_begin: Callable[[str], None]
) -> Iterator["Finding"]:
    from ..config import ConfigError, load_settings
    from ..doctor import Finding, State, examine
    from ..ops.logging import configure_logging

    try:
        settings = load_settings({} if data_dir is None else {"data_dir": data_dir}, config_file)
    except ConfigError as error:
        for problem in str(error).splitlines():
            yield Finding("settings", State.FAIL, problem, "see: tts-service settings")
        return
    source = "the environment and defaults" if config_file is None else str(config_file)
    yield Finding("settings", State.OK, f"from {source}; engines: {', '.join(settings.engines)}")
    configure_logging("error", "console", process="doctor")
    yield from examine(settings, speaks=speaks, on_begin=on_begin)


class _Progress:
    """On a terminal, shows what is being looked at."""

    def __init__(self) -> None:
        self._status: Status | None = None
        if sys.stderr.isatty():
            from rich.console import Console

            self._status = Console(stderr=True).status("")

    def begin(self, name: str) -> None:
        """Shows it until `end`."""
        if self._status is not None:
            self._status.update(f"looking at {name}")
            self._status.start()

    def end(self) -> None:
        """Shows nothing. While something is shown, nothing must be printed."""
        if self._status is not None:
            self._status.stop()
