"""The configured engines: their packages and their models, looked at in processes of their own.

A library that crashes, or a model that makes it crash, is a finding then, and not the end.
"""

import json
import subprocess
import sys
from collections.abc import Iterator

from ..config import Settings
from .finding import Finding, State, fail

__all__ = ["look_at_engines"]


def look_at_engines(settings: Settings) -> Iterator[Finding]:
    """Has each engine's packages imported, and its model files read."""
    for engine in settings.engines:
        yield from _look_at(engine, settings)


def _look_at(engine: str, settings: Settings) -> Iterator[Finding]:
    options = json.dumps(settings.engine_options(engine))
    limit_s = settings.worker_start_timeout_s
    try:
        process = subprocess.run(
            [sys.executable, "-m", "tts_service.doctor.engine_probe", engine, options],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=limit_s,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        yield fail(
            f"engine {engine}",
            f"is not looked through after {limit_s:g} s",
            "see whether its files lie on a disk that hangs, or raise worker_start_timeout_s",
        )
        return
    for line in process.stdout.splitlines():
        try:
            state, found, advice = json.loads(line)
        except ValueError:  # what a library prints
            continue
        yield Finding(f"engine {engine}", State(state), found, advice)
    if process.returncode:
        last_words = (process.stderr.strip().splitlines() or ["without a word"])[-1]
        how = f"signal {-process.returncode}" if process.returncode < 0 else last_words
        yield fail(f"engine {engine}", f"ended while it was looked at: {how}", "install it anew")
