"""How far a call has come: for the bar while it runs, and for the line after it."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from tts_client.command.sizes import size
from tts_client.speech_events import AudioFrame


class Meter:
    """Counts the frames of one synthesis against the clock, from its making on."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begun_s = clock()
        self.first_audio_s = 0.0
        self.elapsed_s = 0.0
        self.audio_s = 0.0
        self.byte_count = 0
        self.spoken_characters = 0

    def count(self, frame: AudioFrame) -> None:
        """Takes a frame into account."""
        self.elapsed_s = self._clock() - self._begun_s
        if not self.byte_count:
            self.first_audio_s = self.elapsed_s
        self.byte_count += len(frame.data)
        self.audio_s = (frame.start_ms + frame.duration_ms) / 1000
        self.spoken_characters = max(self.spoken_characters, frame.span.end_character)

    @property
    def speed(self) -> float:
        """Seconds of audio per second of waiting."""
        return self.audio_s / self.elapsed_s if self.elapsed_s else 0.0

    def report(self, name: str) -> str:
        """One line on how it went."""
        return (
            f"{name}: {self.audio_s:.1f} s of audio, {size(self.byte_count)}, "
            f"first after {self.first_audio_s * 1000:.0f} ms, {self.speed:.1f}x real time"
        )


@contextlib.contextmanager
def progress_bar(wanted: bool, character_count: int) -> Iterator[Callable[[Meter], None]]:
    """A bar on stderr if that is a terminal. Gives the function that moves it."""
    if not (wanted and sys.stderr.isatty()):
        yield lambda _meter: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("waiting for the first audio", total=max(1, character_count))

        def move(meter: Meter) -> None:
            bar.update(
                task,
                completed=meter.spoken_characters,
                description=f"{meter.audio_s:.1f} s of audio, {meter.speed:.1f}x real time",
            )

        yield move


@contextlib.contextmanager
def upload_bar() -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr if that is a terminal. Gives the function that moves it."""
    if not sys.stderr.isatty():
        yield lambda _sent_bytes, _total_bytes: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("connecting", total=1)

        def move(sent_bytes: int, total_bytes: int) -> None:
            whole = f"{size(sent_bytes)} sent, the server is at work on them"
            part = f"{size(sent_bytes)} of {size(total_bytes)} sent"
            bar.update(
                task,
                completed=sent_bytes,
                total=max(1, total_bytes),
                description=part if sent_bytes < total_bytes else whole,
            )

        yield move
