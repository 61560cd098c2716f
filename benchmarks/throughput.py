"""How much speech comes out of all cores: against Piper without a server, and other servers.

    python benchmarks/throughput.py [--no-listeners] [--pool 2x1] [--seconds S] [--rounds N]
        [--json FILE]

1. Piper without a server, tuned: pools of sessions and threads are tried, and the one with the
   most audio a second is the yardstick.
2. The yardstick and all others take turns, each second time backwards: 8 callers, of whom each
   calls again when its last call is done. Ratios are taken within a round.
3. The largest crowd of listeners in real time of whom nobody waits for more than a second for the
   first word (95th percentile), nobody hears a gap and no call fails. All send PCM.

All callers run in this process, in one event loop, whoever is called; what they cost is taken from
the same cores that speak. Piper without a server has no other process, and so no protocol to pay.
The service is asked to bypass its cache: every call is spoken, also one of two for the same text.
"""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from disturbance import watched
from listeners import most_listeners
from machine import Machine
from peers import PoolShape, end_servers_on_sigterm, piper_http, piper_pool, service, wyoming_piper
from report import Result, Row, Spread

from protos.tts.v1 import tts_pb2
from tts_client.load import SENTENCES, Speak, closed_loop

CALLERS = 8
SHAPES = tuple(
    PoolShape(sessions, threads, spins)
    for sessions, threads in ((1, 1), (1, 2), (2, 1), (2, 2), (4, 1), (8, 1))
    for spins in ((False, True) if threads > 1 else (False,))  # one thread has none to wait for
)
RAW, OURS_PCM, OURS_MP3 = "Piper, pool in one process", "tts-service, PCM", "tts-service, MP3"
HTTP, WYOMING = "Piper's HTTP server", "wyoming-piper"
# A shared machine's speed drifts: what is compared most narrowly is measured side by side.
TURNS = (HTTP, RAW, OURS_PCM, OURS_MP3, WYOMING)
LISTEN_S = 10.0  # the longest text plays for as long, so that each listener makes a call
CALM = 0.05  # share of the cores that others may take
RATE, RATIO = "audio, s/s", "against the pool"
LISTENERS, WAIT = "listeners in real time", "their wait, p95, ms"


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asks for.

    Attributes:
        listeners: whether the largest crowds are looked for.
        pool: the yardstick, if it is known; else pools are tried.
        seconds: of one peer's turn.
        rounds: turns of each peer.
    """

    listeners: bool
    pool: PoolShape | None
    seconds: float
    rounds: int


def main() -> int:
    """Measure, print the tables, and write the JSON that was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--no-listeners", action="store_true", help="leave out the crowds")
    parser.add_argument("--pool", type=_shape, help="don't try pools; take this one, such as 2x1")
    parser.add_argument("--seconds", type=float, default=8.0, help="of one peer's turn (8)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each peer (3)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures")
    arguments = parser.parse_args()
    options = Options(
        not arguments.no_listeners, arguments.pool, arguments.seconds, arguments.rounds
    )
    end_servers_on_sigterm()
    result = asyncio.run(_measure(options))
    print(result.to_markdown())
    if arguments.json:
        result.write_json(arguments.json)
    return 0


def _shape(text: str) -> PoolShape:
    sessions, _, threads = text.partition("x")
    return PoolShape(int(sessions), int(threads), spins=False)


async def _measure(options: Options) -> Result:
    grid = {options.pool: 0.0} if options.pool else await _try_shapes(options.seconds)
    best = max(grid, key=lambda shape: grid[shape])
    if not options.pool:
        _say("pools: " + ", ".join(f"{shape}: {rate:.1f}" for shape, rate in grid.items()))
    chosen = "as asked for" if options.pool else f"the best of {len(SHAPES)}"
    async with _all_peers(best) as peers:
        rates = await _take_turns(peers, options)
        figures = {name: {RATE: Spread.of(values)} for name, values in rates.items()}
        for name, values in rates.items():
            ratios = (ours / raw for ours, raw in zip(values, rates[RAW], strict=True))
            figures[name][RATIO] = Spread.of(ratios)
        if options.listeners:
            for name in (RAW, HTTP, WYOMING, OURS_PCM):
                held = await most_listeners(
                    peers[name],
                    SENTENCES,
                    audio_per_s=figures[name][RATE].median,
                    duration_s=LISTEN_S,
                )
                tried = ", ".join(
                    f"{crowd.callers}: {crowd.underruns}/{crowd.calls} with a gap, "
                    f"p95 {crowd.first_audio_ms(95):.0f} ms"
                    for crowd in held.tried
                )
                _say(f"{name}: {held.listeners} listeners ({tried})")
                figures[name][LISTENERS] = Spread.of([held.listeners])
                figures[name][WAIT] = Spread.of([held.first_audio_ms])
    return Result(
        benchmark="throughput",
        title=f"Audio from all cores, {CALLERS} callers",
        method=(
            f"{CALLERS} callers, each with its next call when the last is done, "
            f"{options.rounds} turns of {options.seconds:g} s; medians, and the 10th and 90th "
            f"percentile. The pool is {best} (sessions x threads), {chosen}. "
            "Listeners play what they hear in real time; their number is the largest of whom "
            "nobody hears a gap, 95 % hear the first word within a second and no call fails."
        ),
        rows=tuple(Row(name, row) for name, row in figures.items()),
        machine=Machine.here(),
        settings={
            "seconds": options.seconds,
            "rounds": options.rounds,
            "callers": CALLERS,
            "pool": str(best),
            "pools": {str(shape): rate for shape, rate in grid.items()},
        },
    )


async def _try_shapes(seconds: float) -> dict[PoolShape, float]:
    """Audio a second of each shape of the pool, with all callers; the better of two turns."""
    rates = dict.fromkeys(SHAPES, 0.0)
    for _ in range(2):
        for shape in SHAPES:
            async with piper_pool(shape) as speak:
                rates[shape] = max(rates[shape], await _rate(speak, seconds / 2))
    return rates


@asynccontextmanager
async def _all_peers(shape: PoolShape) -> AsyncIterator[Mapping[str, Speak]]:
    async with AsyncExitStack() as stack:
        ours = await stack.enter_async_context(service())
        yield {
            RAW: await stack.enter_async_context(piper_pool(shape)),
            HTTP: await stack.enter_async_context(piper_http()),
            WYOMING: await stack.enter_async_context(wyoming_piper()),
            OURS_PCM: ours.speak(tts_pb2.ENCODING_PCM_S16LE),
            OURS_MP3: ours.speak(tts_pb2.ENCODING_MP3),
        }


async def _take_turns(peers: Mapping[str, Speak], options: Options) -> dict[str, list[float]]:
    rates: dict[str, list[float]] = {name: [] for name in peers}
    for number in range(options.rounds):
        for name in TURNS if number % 2 == 0 else reversed(TURNS):
            rates[name].append(await _rate(peers[name], options.seconds))
            _say(f"{name}: {rates[name][-1]:.1f} s of audio a second")
    return rates


async def _rate(speak: Speak, seconds: float) -> float:
    """Audio a second, of the least disturbed of up to three turns; of the first that is calm."""
    turns: list[tuple[float, float]] = []
    while not turns or (len(turns) < 3 and turns[-1][0] > CALM):
        with watched() as others:
            report = await closed_loop(
                speak, SENTENCES, callers=CALLERS, duration_s=seconds, warm_up_s=1.0
            )
        if report.errors:
            failed = next(heard for heard in report.listenings if heard.error)
            raise RuntimeError(f"calls failed: {dict(report.errors)}, {failed.message}")
        turns.append((others.share, report.audio_per_s))
    share, rate = min(turns)
    if share > CALM:
        _say(f"other processes took {share:.0%} of the cores: not to be relied on")
    return rate


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
