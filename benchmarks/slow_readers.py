"""What callers cost who read slowly: memory of the server, and the first audio of others.

    python benchmarks/slow_readers.py [--readers N] [--seconds N] [--bytes-per-s N] [--json FILE]

For each encoding asked for, starts a server of its own and as many callers, each with a long text
and a connection of their own. A kilobyte a second is slow for PCM; 200 who read so much MP3 want
more of the engine than it can speak. Either the network is slow, a relay that reads a
kilobyte a second of each connection, or the callers are, who take a frame only when they have had
time for the one before it, and tell the server so with HTTP/2's windows. Another caller asks for a
sentence again and again: before, while the server makes for all of them what it may hold, while
they read, in pauses of theirs, and after. Pauses and reading take turns, since a machine that is
shared is a fifth slower at one time than at another. Last all stand still, and the slow callers are
to be ended by the server. Linux only.
"""

import argparse
import asyncio
import json
import math
import os
import statistics
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
import grpc.aio
import psutil

from protos.tts.v1 import tts_pb2, tts_pb2_grpc
from tests.faults.at_rest import QUIET_METRICS, holdings
from tests.faulty_network import Way, faulty_network
from tests.server_process import ServerProcess, running_server

SENTENCE = "Your table by the window is ready for you."
TEXT_CHARACTERS = 5000
_WORDS = (
    "The river rose again in the night, and by the morning the lower road was under water; "
    "nobody had expected that, and the bus to the valley had to wait. "
)
ENCODINGS = {"PCM": tts_pb2.ENCODING_PCM_S16LE, "MP3": tts_pb2.ENCODING_MP3}
# Long enough that none is cut off while it reads: gRPC takes frames in gulps of 64 kB, and they
# pause.
_STALL_LIMIT_S = 150
_PAUSED_S = 12.0
_READING_S = 20.0
_SETTLING_S = 3.0
_FIRSTS = 40
# The server first makes as much ahead of all of them as it may. That is done when in most of some
# looks nobody has a place at the engine.
_FILLING_S = 300.0
_LOOKS = 10
_LOOK_EVERY_S = 0.05
_STEP_S = 1.0
_OWN_CHANNEL = (("grpc.use_local_subchannel_pool", 1),)
# gRPC's clients let a server send megabytes ahead, unless they are told not to.
_SMALL_WINDOW = (("grpc.http2.lookahead_bytes", 1 << 14), ("grpc.http2.bdp_probe", 0))


@dataclass(frozen=True, slots=True)
class Memory:
    """Where the server's memory is.

    Attributes:
        at_s: since the other caller began.
        front_mb: resident, of the front.
        workers_mb: resident, of all its workers.
        kernel_mb: sent by the front and not yet taken by the other side, in the sockets' queues.
    """

    at_s: float
    front_mb: float
    workers_mb: float
    kernel_mb: float


@dataclass(frozen=True, slots=True)
class Measured:
    """One encoding.

    Attributes:
        first_audio_ms: of the other caller: before, while the server fills what it may hold, while
            they pause, while they read on, and after.
        turn_ratios: of each turn, the median while they read against that of the pause before it.
        memory: over time.
        stalled_memory: once the server had ended all who stood still.
        is_filled: whether the server had made all that it may make ahead before they "read on".
        ends: why slow calls ended while they were read, by the server's log: a reason or a status.
        stalled_ends: the same, once all stood still.
        calls_left: slow calls that had not ended then.
    """

    first_audio_ms: dict[str, list[float]]
    turn_ratios: list[float]
    memory: list[Memory]
    stalled_memory: Memory
    is_filled: bool
    ends: dict[str, int]
    stalled_ends: dict[str, int]
    calls_left: int

    def peak(self, name: str) -> float:
        """The highest of a column of `memory`, in MB."""
        return float(max(getattr(sample, name) for sample in self.memory))

    def ratio(self, when: str) -> float:
        """First audio then against before, medians."""
        before = statistics.median(self.first_audio_ms["before"])
        return float(statistics.median(self.first_audio_ms[when]) / before)


def main() -> int:
    """Measure, print a table, and write the JSON that was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--readers", type=int, default=200, help="slow callers (200)")
    parser.add_argument("--seconds", type=float, default=80, help="how long they read (80)")
    parser.add_argument("--bytes-per-s", type=float, default=1000, help="of each (1000)")
    parser.add_argument("--slow", choices=("network", "callers"), default="callers")
    parser.add_argument("--keeps-speech", action="store_true", help="with the cache on")
    parser.add_argument("--encoding", choices=ENCODINGS, action="append", help="PCM")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write every figure")
    options = parser.parse_args()
    results = {}
    for name in options.encoding or ("PCM",):
        with (
            TemporaryDirectory() as folder,
            running_server(
                Path(folder),
                keeps_speech=options.keeps_speech,
                environment=_environment(options.readers),
            ) as server,
        ):
            results[name] = asyncio.run(_measure(server, name, options))
    _print(results, options)
    if options.json:
        report = {
            "cores": os.cpu_count(),
            "readers": options.readers,
            "slow": options.slow,
            "seconds": options.seconds,
            "bytes_per_s": options.bytes_per_s,
            "text_characters": TEXT_CHARACTERS,
            "results": {name: asdict(result) for name, result in results.items()},
        }
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0


def _environment(readers: int) -> dict[str, str]:
    """A place for everybody, who is cut off late: this is not about who is let in."""
    return {
        **QUIET_METRICS,
        "TTS_STALL_LIMIT_S": str(_STALL_LIMIT_S),
        "TTS_ADMISSION__SLOTS": str(2 * readers),
    }


async def _measure(server: ServerProcess, name: str, options: argparse.Namespace) -> Measured:
    firsts: dict[str, list[float]] = {}
    turn_ratios: list[float] = []
    way = Way(bytes_per_s=options.bytes_per_s)
    async with (
        grpc.aio.insecure_channel(server.address) as channel,
        faulty_network(server.address, to_client=way, is_thin=True) as network,
    ):
        other = _Other(server, tts_pb2_grpc.TextToSpeechStub(channel))
        await other.asks(1)  # warm
        firsts["before"] = await other.asks(_FIRSTS)
        pace = _Pace(options.bytes_per_s)
        texts = (_text(number, ENCODINGS[name]) for number in range(options.readers))
        if options.slow == "network":
            reads = [_read_by_network(network.address, text) for text in texts]
        else:
            reads = [_read_at_pace(server.address, text, pace) for text in texts]
        readers = [asyncio.create_task(read) for read in reads]
        firsts["filling"] = await other.asks_for(_FILLING_S, until_rest=True)
        is_filled = other.has_rested
        for _ in range(max(1, round(options.seconds / _READING_S))):
            network.stall()
            pace.flows.clear()
            await asyncio.sleep(_SETTLING_S)
            paused = await other.asks_for(_PAUSED_S)
            network.flow()
            pace.flows.set()
            await asyncio.sleep(_SETTLING_S)
            reading = await other.asks_for(_READING_S)
            firsts.setdefault("paused", []).extend(paused)
            firsts.setdefault("reading", []).extend(reading)
            turn_ratios.append(statistics.median(reading) / statistics.median(paused))
        ends = _ends(server)
        network.stall()
        pace.flows.clear()
        await _wait_for_ends(server, options.readers)
        stalled_ends = _ends(server) - ends
        left = options.readers - ends.total() - stalled_ends.total()
        stalled = other.look()
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        await asyncio.sleep(_SETTLING_S)
        firsts["after"] = await other.asks(_FIRSTS)
    return Measured(
        first_audio_ms=firsts,
        turn_ratios=turn_ratios,
        memory=other.memory,
        stalled_memory=stalled,
        is_filled=is_filled,
        ends=dict(ends),
        stalled_ends=dict(stalled_ends),
        calls_left=left,
    )


class _Other:
    """The other caller, who asks for a sentence twice a second at the most.

    Attributes:
        memory: of the server, after each call.
        has_rested: whether the engine had, after the last call.
    """

    def __init__(self, server: ServerProcess, stub: "tts_pb2_grpc.TextToSpeechAsyncStub") -> None:
        self.memory: list[Memory] = []
        self.has_rested = False
        self._server = server
        self._stub = stub
        self._began_s = time.monotonic()

    async def asks(self, count: int) -> list[float]:
        """So many times; the first audio of each, in ms."""
        return [await self._ask() for _ in range(count)]

    async def asks_for(self, duration_s: float, *, until_rest: bool = False) -> list[float]:
        """For so long, or until the engine has nothing to do for others."""
        end_s = time.monotonic() + duration_s
        firsts = []
        while time.monotonic() < end_s:
            firsts.append(await self._ask())
            if until_rest and self.has_rested:
                break
        return firsts

    def look(self) -> Memory:
        """Notes the memory."""
        memory = _memory(self._server, time.monotonic() - self._began_s)
        self.memory.append(memory)
        return memory

    async def _ask(self) -> float:
        first_ms = await _first_audio_ms(self._stub)
        self.has_rested = await _rests(self._server)
        self.look()
        return first_ms


async def _rests(server: ServerProcess) -> bool:
    """Whether for most of half a second nobody had a place at the engine."""
    rests = 0
    for _ in range(_LOOKS):
        await asyncio.sleep(_LOOK_EVERY_S)
        rests += (await asyncio.to_thread(holdings, server)).places == 0
    return rests > _LOOKS // 2


async def _first_audio_ms(stub: "tts_pb2_grpc.TextToSpeechAsyncStub") -> float:
    began = time.perf_counter()
    request = tts_pb2.SynthesizeRequest(text=SENTENCE, cache=tts_pb2.CACHE_MODE_BYPASS)
    call = stub.Synthesize(request)
    async for event in call:
        if event.HasField("audio"):
            break
    first_ms = (time.perf_counter() - began) * 1000
    call.cancel()
    return first_ms


def _text(number: int, encoding: tts_pb2.Encoding.ValueType) -> tts_pb2.SynthesizeRequest:
    """A long text that nobody else asks for."""
    text = f"Reader {number}. " + _WORDS * (TEXT_CHARACTERS // len(_WORDS))
    return tts_pb2.SynthesizeRequest(
        text=text[:TEXT_CHARACTERS], format=tts_pb2.AudioFormat(encoding=encoding)
    )


class _Pace:
    """How quickly callers take what comes.

    Attributes:
        flows: cleared, they pause.
    """

    def __init__(self, bytes_per_s: float) -> None:
        self.flows = asyncio.Event()
        self.flows.set()
        self._bytes_per_s = bytes_per_s

    async def take(self, size: int) -> None:
        """Waits for as long as so many bytes take, without the pauses."""
        left_s = size / self._bytes_per_s
        while left_s > 0:
            await self.flows.wait()
            step_s = min(_STEP_S, left_s)
            await asyncio.sleep(step_s)
            left_s -= step_s


async def _read_by_network(address: str, request: tts_pb2.SynthesizeRequest) -> None:
    """Reads all that comes."""
    async with grpc.aio.insecure_channel(address, options=_OWN_CHANNEL) as channel:
        with suppress(grpc.aio.AioRpcError):
            async for _ in tts_pb2_grpc.TextToSpeechStub(channel).Synthesize(request):
                pass


async def _read_at_pace(address: str, request: tts_pb2.SynthesizeRequest, pace: _Pace) -> None:
    """Reads frame by frame, each when there was time for the one before it."""
    options = (*_OWN_CHANNEL, *_SMALL_WINDOW)
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        with suppress(grpc.aio.AioRpcError):
            async for event in tts_pb2_grpc.TextToSpeechStub(channel).Synthesize(request):
                await pace.take(len(event.audio.data))


def _ends(server: ServerProcess) -> Counter[str]:
    """The slow calls that ended, by reason or status, as the server's log has it.

    What the callers hear of it is behind all that they haven't read yet.
    """
    calls = [json.loads(line) for line in server.log.splitlines() if '"event": "call"' in line]
    slow = [call for call in calls if call.get("characters", 0) > len(SENTENCE)]
    return Counter(call.get("reason", call["code"]) for call in slow)


async def _wait_for_ends(server: ServerProcess, expected: int) -> None:
    for _ in range(_STALL_LIMIT_S + 20):
        if _ends(server).total() >= expected:
            return
        await asyncio.sleep(1)


def _memory(server: ServerProcess, at_s: float) -> Memory:
    front = psutil.Process(server.process.pid).memory_info().rss
    workers = sum(worker.memory_info().rss for worker in server.workers())
    port = int(server.address.rpartition(":")[2])
    return Memory(at_s, front / 1e6, workers / 1e6, _unsent_bytes(port) / 1e6)


def _unsent_bytes(port: int) -> int:
    """Bytes in the kernel's queues of all connections that end at a local port."""
    unsent = 0
    # A socket for both families is listed with IPv6, whoever connects to it.
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            local, queues = line.split()[1], line.split()[4]
            if int(local.rpartition(":")[2], 16) == port:
                unsent += int(queues.partition(":")[0], 16)
    return unsent


def _print(results: dict[str, Measured], options: argparse.Namespace) -> None:
    print(
        f"{options.readers} callers, slow {options.slow}: {options.bytes_per_s:.0f} B/s each, "
        f"{TEXT_CHARACTERS} characters; MB"
    )
    print(f"{'':<6}{'':<10}{'before':>9}{'peak':>9}{'stalled':>9}{'after':>9}{'each':>9}")
    for name, result in results.items():
        before, stalled, after = result.memory[0], result.stalled_memory, result.memory[-1]
        for column in ("front_mb", "workers_mb", "kernel_mb"):
            figures = [getattr(before, column), result.peak(column)]
            each = (figures[1] - figures[0]) / options.readers
            figures += [getattr(stalled, column), getattr(after, column)]
            row = "".join(f"{figure:>9.1f}" for figure in figures)
            print(f"{name:<6}{column[:-3]:<10}{row}{each:>9.3f}")
    for name, result in results.items():
        print(f"{name}: ended while they read: {result.ends or '-'}")
        if not result.is_filled:
            print(f"  the engine had not caught up with them after {_FILLING_S:.0f} s")
        print("  the others' first audio, median (p90; calls), against before")
        for when, firsts in result.first_audio_ms.items():
            high = sorted(firsts)[math.ceil(0.9 * len(firsts)) - 1]
            middle = statistics.median(firsts)
            print(
                f"  {when:<10}{middle:>8.1f} ms ({high:.1f} ms; {len(firsts)})"
                f"{result.ratio(when):>8.2f}"
            )
        turns = ", ".join(f"{ratio:.2f}" for ratio in result.turn_ratios)
        print(
            f"  reading against the pause before: {statistics.median(result.turn_ratios):.2f} "
            f"(turns: {turns})"
        )
        print(f"  once stalled, ended by: {result.stalled_ends or '-'}; left: {result.calls_left}")


if __name__ == "__main__":
    sys.exit(main())
