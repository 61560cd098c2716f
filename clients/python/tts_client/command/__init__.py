"""The `tts` command: speaks, saves and lists from a shell."""

import importlib.util
import signal
import sys

__all__ = ["main"]

_ENDED_BY_SIGTERM = 128 + signal.SIGTERM


def main() -> None:
    """Runs the command and exits with its code. See `tts --help`."""
    if any(importlib.util.find_spec(name) is None for name in ("click", "rich")):
        sys.stderr.write("tts: the command needs an extra: pip install 'PATH_OF_THE_CLONE[cli]'\n")
        sys.exit(1)
    from tts_client.command.app import app

    # As an exception, so that calls are cancelled, players ended and partial files removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_ENDED_BY_SIGTERM))
    app(prog_name="tts")
