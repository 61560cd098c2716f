"""When the first word is heard: against Piper without a server, its HTTP server, wyoming-piper.

    python benchmarks/first_audio.py [--runs N] [--json FILE]

One run, everybody takes turns, nobody else calls meanwhile. A sentence of 147 characters, and in
every fifth turn 604 characters without a full stop. For each:

- *First audio* is the time from the call until its first piece of sound is in this process.
- The ratios are medians of the ratios within a turn.
- *After PCM* is how much later the first MP3 or Opus frame comes than the first PCM frame did in
  the same turn, in ms: what encoding costs. Below 0 it came earlier.
- *Held back* is the sound that the encoder still has when PCM has already left, in ms. A frame of
  each format leaves for each chunk of the engine, so the sound in the first five PCM frames is
  compared with the sound in the first five of the other format, after each of them; the median.
- *Real-time factor* is the time of the whole call per time of sound.

The service bypasses its cache. Its start, its `--help` and its memory are measured, too.
"""

import argparse
import asyncio
import itertools
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil
from machine import Machine
from peers import end_servers_on_sigterm, piper_http, raw_piper, service, wyoming_piper
from report import Result, Row, Spread
from texts import CLAUSES, SENTENCE

from protos.tts.v1 import tts_pb2
from tests.server_process import ServerProcess
from tts_client.load import Speak

RAW, HTTP, WYOMING = "Piper, no server", "Piper's HTTP server", "wyoming-piper"
PCM, MP3, OPUS = "tts-service, PCM", "tts-service, MP3", "tts-service, Ogg Opus"
TEXTS = (SENTENCE, CLAUSES)
_COMPARED_FRAMES = 5
_LONG_EVERY = 5  # turns have the long text, too: it takes everybody four times as long


@dataclass(frozen=True, slots=True)
class Run:
    """One text, spoken once.

    Attributes:
        first_ms: from the call until the first audio was there.
        whole_ms: from the call until its end.
        pieces_ms: how much audio each piece held.
    """

    first_ms: float
    whole_ms: float
    pieces_ms: tuple[float, ...]


def main() -> int:
    """Measure, print a table, and write the JSON that was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=50, help="turns (50)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures")
    options = parser.parse_args()
    end_servers_on_sigterm()
    result = asyncio.run(_measure(options.runs))
    print(result.to_markdown())
    if options.json:
        result.write_json(options.json)
    return 0


async def _measure(runs: int) -> Result:
    began_s = time.monotonic()
    async with AsyncExitStack() as stack:
        ours = await stack.enter_async_context(service())
        ready_s = time.monotonic() - began_s
        peers: dict[str, Speak] = {
            RAW: await stack.enter_async_context(raw_piper()),
            HTTP: await stack.enter_async_context(piper_http()),
            WYOMING: await stack.enter_async_context(wyoming_piper()),
            PCM: ours.speak(tts_pb2.ENCODING_PCM_S16LE),
            MP3: ours.speak(tts_pb2.ENCODING_MP3),
            OPUS: ours.speak(tts_pb2.ENCODING_OGG_OPUS),
        }
        taken = await _take_turns(peers, runs)
        front_mb, worker_mb = _memory_mb(ours.server)
    help_s = statistics.median(_help_s() for _ in range(5))
    return Result(
        benchmark="first_audio",
        title="Time to the first audio, one caller",
        method=(
            f"{runs} turns; medians, and the 10th and 90th percentile. Texts of "
            f"{len(SENTENCE)} characters, and of {len(CLAUSES)} without a full stop. Ratios are of "
            "one turn. `benchmarks/first_audio.py` says what else the columns mean."
        ),
        rows=tuple(Row(name, _figures(name, taken)) for name in peers),
        machine=Machine.here(),
        settings={"runs": runs, "texts": TEXTS},
        notes=(
            f"From `serve` to ready {ready_s:.2f} s, `--help` {help_s:.2f} s; resident: front "
            f"{front_mb:.0f} MB, worker {worker_mb:.0f} MB.",
        ),
    )


async def _take_turns(
    peers: Mapping[str, Speak], runs: int
) -> dict[tuple[str, str], tuple[Run, ...]]:
    """Every run by peer and text, in the order of the turns."""
    pairs = list(itertools.product(peers, TEXTS))
    for name, text in pairs:  # warm
        await _run(peers[name], text)
    taken: dict[tuple[str, str], list[Run]] = {pair: [] for pair in pairs}
    for turn in range(runs):
        for name, text in pairs:
            if text == SENTENCE or turn % _LONG_EVERY == 0:
                taken[name, text].append(await _run(peers[name], text))
    return {pair: tuple(runs) for pair, runs in taken.items()}


async def _run(speak: Speak, text: str) -> Run:
    began_s = time.perf_counter()
    first_ms, pieces = 0.0, []
    async for duration_ms in speak(text):
        first_ms = first_ms or (time.perf_counter() - began_s) * 1000
        pieces.append(duration_ms)
    return Run(first_ms, (time.perf_counter() - began_s) * 1000, tuple(pieces))


def _figures(name: str, taken: Mapping[tuple[str, str], Sequence[Run]]) -> dict[str, Spread]:
    figures = {}
    for text in TEXTS:
        runs = taken[name, text]
        column = f"{len(text)} characters, first audio, ms"
        figures[column] = Spread.of(run.first_ms for run in runs)
        for other, title in ((RAW, "no server"), (WYOMING, "wyoming")):
            ratios = (
                run.first_ms / peer.first_ms
                for run, peer in zip(runs, taken[other, text], strict=True)
            )
            figures[f"{len(text)}, against {title}"] = Spread.of(ratios)
    runs = taken[name, SENTENCE]
    if name in (MP3, OPUS):
        pairs = list(zip(runs, taken[PCM, SENTENCE], strict=True))
        figures["after PCM, ms"] = Spread.of(run.first_ms - pcm.first_ms for run, pcm in pairs)
        figures["held back, ms"] = Spread.of(_held_back_ms(run, pcm) for run, pcm in pairs)
    figures["real-time factor"] = Spread.of(run.whole_ms / sum(run.pieces_ms) for run in runs)
    return figures


def _held_back_ms(run: Run, pcm: Run) -> float:
    positions = zip(
        itertools.accumulate(pcm.pieces_ms), itertools.accumulate(run.pieces_ms), strict=False
    )
    return statistics.median(
        left - heard for left, heard in itertools.islice(positions, _COMPARED_FRAMES)
    )


def _memory_mb(server: ServerProcess) -> tuple[float, float]:
    front = psutil.Process(server.process.pid).memory_info().rss
    workers = sum(worker.memory_info().rss for worker in server.workers())
    return front / 1e6, workers / 1e6


def _help_s() -> float:
    began = time.perf_counter()
    command = [sys.executable, "-m", "tts_service", "--help"]
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
