"""The `tts` command: speaks, saves and lists from a shell."""

import importlib.util
import signal
import sys

__all__ = ["main"]

_SIGNALS = (signal.SIGTERM, signal.SIGHUP) if hasattr(signal, "SIGHUP") else (signal.SIGTERM,)


def main() -> None:
    """Runs the command and exits with its code. See `tts --help`."""
    if any(importlib.util.find_spec(name) is None for name in ("click", "rich")):
        sys.stderr.write("tts: the command needs an extra: pip install 'PATH_OF_THE_CLONE[cli]'\n")
        sys.exit(1)
    from tts_client.command.app import app

    # As an exception, so that calls are cancelled, players ended and partial files removed.
    for number in _SIGNALS:
        if signal.getsignal(number) is signal.SIG_DFL:  # `nohup` has SIGHUP ignored
            signal.signal(number, lambda number, _: sys.exit(128 + number))
    app(prog_name="tts")
