"""The line that shows how a load is going."""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator

from tts_client.load import Listening, percentile

_TICK_S = 0.25


class LoadMeter:
    """Counts what has been heard since `begin`."""

    def __init__(self) -> None:
        self._title = ""
        self._length_s = 0.0
        self._begun_s = 0.0
        self._firsts_ms: list[float] = []
        self._calls = self._failed = self._underruns = 0

    def begin(self, title: str, length_s: float) -> None:
        """A load begins, which takes so long at least."""
        self._title, self._length_s = title, length_s
        self._begun_s = time.monotonic()
        self._firsts_ms = []
        self._calls = self._failed = self._underruns = 0

    def count(self, heard: Listening) -> None:
        """A call has ended."""
        self._calls += 1
        self._failed += bool(heard.error)
        self._underruns += heard.underrun_count > 0
        if heard.first_audio_ms is not None:
            self._firsts_ms.append(heard.first_audio_ms)

    @property
    def line(self) -> str:
        """How it is going."""
        if not self._title:
            return "connecting"
        elapsed_s = min(time.monotonic() - self._begun_s, self._length_s)
        line = (
            f"{self._title}, {elapsed_s:.0f} of {self._length_s:.0f} s: calls {self._calls}, "
            f"failed {self._failed}, underruns {self._underruns}"
        )
        if self._firsts_ms:
            line += f", first audio p95 {percentile(self._firsts_ms, 95):.0f} ms"
        return line


@contextlib.asynccontextmanager
async def live_line(meter: LoadMeter) -> AsyncIterator[None]:
    """Shows the meter on stderr if that is a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    async def show() -> None:
        while True:
            live.update(Text(meter.line, overflow="ellipsis", no_wrap=True), refresh=True)
            await asyncio.sleep(_TICK_S)

    # Without a thread that redraws: it would take time from the calls.
    with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as live:
        showing = asyncio.create_task(show())
        try:
            yield
        finally:
            showing.cancel()
            await asyncio.gather(showing, return_exceptions=True)
