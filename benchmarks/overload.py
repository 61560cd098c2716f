"""What callers get of a server that is asked for more than it can do.

    python benchmarks/overload.py [--seconds S] [--factors 0.5 1 2 4] [--obey SHARE] [--json FILE]

1. Its capacity: calls a second of eight callers in a closed loop.
2. Calls at random times, at multiples of that rate, however many are open. Refused callers come
   again when they were told to, with the same request id, as gRPC's own retries do: as many of
   them as asked for, by lot. The others have gone.

- *Goodput* is the audio of calls that came to their end, each second.
- *First audio* is of calls that were let in, from when they were due.
- *Refused within* is the time of a refusal, from when the call was made.
- *Hints that held* is how many of those who came again were let in. Who would come when the load
  is over doesn't, for an idle server lets in everybody.

All calls bypass the cache. MP3.
"""

import argparse
import asyncio
import math
import random
import sys
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from machine import Machine
from report import Result, Row, Spread

from tests.server_process import running_server
from tts_client import AsyncClient, Overloaded, RetryPolicy
from tts_client.load import SENTENCES, LoadReport, closed_loop, open_loop, percentile

_CALLERS = 8
_REFUSED = "RESOURCE_EXHAUSTED"
_WARM_UP_S = 5.0
_BETWEEN_S = 5.0


@dataclass
class Crowd:
    """Callers of one load, who may come again when they were refused.

    Args:
        obey: the share of those who do.

    Attributes:
        refused_ms: how long each refusal took.
        hints_s: what they said.
        returned: of each that came again, whether it was let in.
        whole_s: the audio of calls that came to their end, by the time of that.
        until_s: when the load is over, so that nobody comes again.
    """

    client: AsyncClient
    obey: float
    chance: random.Random
    refused_ms: list[float] = field(default_factory=list)
    hints_s: list[float] = field(default_factory=list)
    returned: list[bool] = field(default_factory=list)
    whole_s: list[tuple[float, float]] = field(default_factory=list)
    until_s: float = math.inf
    _returning: set[asyncio.Task[None]] = field(default_factory=set)

    async def speak(self, text: str, /) -> AsyncIterator[float]:
        """A call; see `Speak`."""
        request_id = uuid.uuid4().hex
        began_s, audio_ms = time.monotonic(), 0
        try:
            async for duration_ms in self._call(text, request_id):
                audio_ms += duration_ms
                yield duration_ms
        except Overloaded as error:
            self.refused_ms.append((time.monotonic() - began_s) * 1000)
            hint_s = error.retry_after_s or 0.0
            self.hints_s.append(hint_s)
            if self.chance.random() < self.obey:
                task = asyncio.create_task(self._come_again(text, request_id, hint_s))
                self._returning.add(task)
                task.add_done_callback(self._returning.discard)
            raise
        self.whole_s.append((time.monotonic(), audio_ms / 1000))

    async def _call(self, text: str, request_id: str) -> AsyncIterator[int]:
        async with self.client.synthesize(
            text, format="mp3", cache="bypass", request_id=request_id
        ) as speech:
            async for frame in speech:
                yield frame.duration_ms

    async def _come_again(self, text: str, request_id: str, hint_s: float) -> None:
        await asyncio.sleep(hint_s)
        if time.monotonic() >= self.until_s:
            return
        audio_ms = 0
        try:
            async for duration_ms in self._call(text, request_id):
                audio_ms += duration_ms
        except Overloaded:
            self.returned.append(False)
            return
        self.returned.append(True)
        self.whole_s.append((time.monotonic(), audio_ms / 1000))

    async def wait_for_all(self) -> None:
        """Waits for those who come again."""
        while self._returning:
            await asyncio.gather(*self._returning)

    def goodput(self, begin_s: float, end_s: float) -> float:
        """Audio of calls that ended within that time, each second."""
        audio_s = sum(audio_s for at_s, audio_s in self.whole_s if begin_s <= at_s < end_s)
        return audio_s / (end_s - begin_s)


def main() -> int:
    """Measure, print a table, and write the JSON that was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=120, help="of each load (120)")
    parser.add_argument(
        "--factors", type=float, nargs="+", default=[0.5, 1, 2, 4], help="times capacity"
    )
    parser.add_argument(
        "--obey", type=float, default=0.2, help="share of the refused who come again (0.2)"
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures")
    options = parser.parse_args()
    result = asyncio.run(_measure(options.seconds, options.factors, options.obey))
    print(result.to_markdown())
    if options.json:
        result.write_json(options.json)
    return 0


async def _measure(seconds: float, factors: list[float], obey: float) -> Result:
    retry = RetryPolicy(max_attempts=1)
    with TemporaryDirectory() as folder, running_server(Path(folder)) as server:
        async with AsyncClient(server.address, retry=retry) as client:
            crowd = Crowd(client, 0.0, random.Random(0))
            report = await closed_loop(
                crowd.speak,
                SENTENCES,
                callers=_CALLERS,
                duration_s=max(10.0, seconds / 4),
                warm_up_s=2.0,
            )
            capacity = (report.calls - report.errors.total()) / report.elapsed_s
            _say(f"capacity: {capacity:.2f} calls/s, {report.audio_per_s:.1f} s of audio a second")
            rows = []
            for factor in factors:
                await asyncio.sleep(_BETWEEN_S)
                rows.append(await _load(client, factor, capacity, seconds, obey))
    return Result(
        benchmark="overload",
        title="Asked for more than it can do",
        method=(
            f"Piper, MP3, calls at random times, {seconds:g} s each. Capacity is what {_CALLERS} "
            f"callers get one after another: {capacity:.2f} calls a second. {obey:.0%} of those "
            "who are refused come again when told to; the others have gone. "
            "`benchmarks/overload.py` says what the columns mean."
        ),
        rows=tuple(rows),
        machine=Machine.here(),
        settings={"seconds": seconds, "capacity_calls_per_s": capacity, "obey": obey},
    )


async def _load(
    client: AsyncClient, factor: float, capacity: float, seconds: float, obey: float
) -> Row:
    crowd = Crowd(client, obey, random.Random(1))
    began_s = time.monotonic()
    crowd.until_s = began_s + _WARM_UP_S + seconds
    report = await open_loop(
        crowd.speak,
        SENTENCES,
        rate_per_s=factor * capacity,
        duration_s=seconds,
        warm_up_s=_WARM_UP_S,
        in_flight_limit=2000,
        seed=round(factor * 10),
    )
    goodput = crowd.goodput(began_s + _WARM_UP_S, crowd.until_s)
    await crowd.wait_for_all()
    row = _row(factor, report, crowd, goodput)
    _say(
        f"{factor:g}x: goodput {goodput:.1f} s/s, first audio p95 "
        f"{report.first_audio_ms(95):.0f} ms, {dict(report.errors) or 'none refused'}, "
        f"{sum(crowd.returned)} of {len(crowd.returned)} hints held"
    )
    return row


def _row(factor: float, report: LoadReport, crowd: Crowd, goodput: float) -> Row:
    admitted = report.calls - report.errors.total()
    figures = {
        "calls/s": report.calls / report.elapsed_s,
        "refused, %": 100 * report.errors[_REFUSED] / report.calls,
        "goodput, s/s": goodput,
        "first audio p50, ms": report.first_audio_ms(50),
        "first audio p95, ms": report.first_audio_ms(95),
        "calls with gaps, %": 100 * report.underruns / admitted if admitted else 0.0,
    }
    if crowd.refused_ms:
        figures["refused within, p99, ms"] = percentile(crowd.refused_ms, 99)
        figures["hint p50, s"] = percentile(crowd.hints_s, 50)
        figures["hint max, s"] = max(crowd.hints_s)
    if crowd.returned:
        figures["hints that held, %"] = 100 * sum(crowd.returned) / len(crowd.returned)
    return Row(f"{factor:g} x capacity", {name: Spread.of([f]) for name, f in figures.items()})


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
