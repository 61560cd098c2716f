"""Plays audio while it is being made."""

import contextlib
import os
import subprocess
import tempfile
import threading
from types import TracebackType
from typing import Self

from tts_client.command.failures import Failure
from tts_client.command.player import Player

_PIPE_BYTES = 64 * 1024
_END_WAIT_S = 2.0


class Playback:
    """One run of a player, fed from a spool file by a thread.

    A loudspeaker takes as long as the speech lasts. The spool lets the stream end long before, so
    that neither the server nor a file being written waits for it. The player starts with the first
    bytes; one that needs a complete file starts in `finish()`.
    """

    def __init__(self, player: Player, sample_rate_hz: int) -> None:
        self._player = player
        # Left open: it is closed, and so deleted, on leaving the `with` statement.
        self._spool = tempfile.NamedTemporaryFile(prefix="tts-")  # noqa: SIM115
        self._command = player.command_line(sample_rate_hz, self._spool.name)
        self._process: subprocess.Popen[bytes] | None = None
        self._feeder: threading.Thread | None = None
        self._grown = threading.Condition()
        self._size_bytes = 0
        self._complete = False

    @property
    def gone(self) -> bool:
        """Whether the player has ended, as when a person closes it."""
        return self._process is not None and self._process.poll() is not None

    def write(self, data: bytes) -> None:
        """Adds to what is to be played. Does not wait for the player."""
        self._spool.write(data)
        self._spool.flush()
        with self._grown:
            self._size_bytes += len(data)
            self._grown.notify()
        if self._process is None and data and not self._player.needs_file:
            self._start()

    def finish(self) -> None:
        """Waits until all has been played. Raises `Failure` if the player says that it was not."""
        self._mark_complete()
        if self._process is None and self._size_bytes:
            self._start()
        if self._process is not None and self._process.wait() != 0:
            raise Failure(f"{self._player.program} failed with code {self._process.returncode}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if self._process is not None:
                self._process.terminate()
                try:
                    self._process.wait(_END_WAIT_S)
                except subprocess.TimeoutExpired:
                    self._process.kill()
                    self._process.wait()
        finally:
            self._mark_complete()
            if self._feeder is not None:
                self._feeder.join()
            self._spool.close()

    def _mark_complete(self) -> None:
        with self._grown:
            self._complete = True
            self._grown.notify()

    def _start(self) -> None:
        if self._player.needs_file:
            self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL)
            return
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, bufsize=0)
        self._feeder = threading.Thread(target=self._feed, args=(self._process,), daemon=True)
        self._feeder.start()

    def _feed(self, process: "subprocess.Popen[bytes]") -> None:
        if process.stdin is None:
            raise RuntimeError("the player was started without a pipe")
        offset = 0
        # The pipe breaks when the player ends before the audio does.
        with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
            while self._wait_for_more(offset):
                data = os.pread(self._spool.fileno(), _PIPE_BYTES, offset)
                offset += pipe.write(data)

    def _wait_for_more(self, offset: int) -> bool:
        with self._grown:
            while self._size_bytes == offset and not self._complete:
                self._grown.wait()
            return self._size_bytes > offset
