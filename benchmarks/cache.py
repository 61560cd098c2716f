"""What a hit costs: first byte, hits a second against bare gRPC, and a log of requests replayed.

    python benchmarks/cache.py [--part hits|replay] [--rounds N] [--seconds S] [--json FILE]

Starts servers of its own: one that finds its hits in memory, one that keeps none there and finds
them on disk, and a bare `grpc.aio` server that sends the same messages. One client, a process of
its own, calls them in turns: ten callers one call after another, which is as much as there can be;
ten callers at half the rate that this gave; and one caller. Then a log of requests is replayed by
one caller through a cache that is too small for it. Some six minutes.
"""

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
from cache_load import Client, Load, running_bare_server, running_client
from cache_replay import replay

from protos.tts.v1 import tts_pb2
from tests.server_process import running_server

REQUEST = tts_pb2.SynthesizeRequest(
    text="Your table is booked for eight o'clock.",
    format=tts_pb2.AudioFormat(encoding=tts_pb2.ENCODING_MP3),
)
CALLERS = 10
BARE, MEMORY, DISK = "bare gRPC", "hit in memory", "hit on disk"
ALL_OUT, HALF, SINGLE = "10 callers, all out", "10 callers, half of it", "1 caller, all out"


@dataclass(frozen=True, slots=True)
class Target:
    """A server to call.

    Attributes:
        process: the one that answers.
    """

    address: str
    process: psutil.Process


@dataclass(frozen=True, slots=True)
class Row:
    """One server under one load, over all rounds.

    Attributes:
        hits_hz: calls a second in each round.
        first_ms: p50 and p99 until the first message.
        audio_ms: p50 and p99 until the first message with audio.
        whole_ms: p50 and p99 until the end.
        server_cpu_ms: processor time of the server's process for a call.
        client_cpu_ms: the same of the client's.
    """

    calls: int
    hits_hz: tuple[float, ...]
    first_ms: tuple[float, float]
    audio_ms: tuple[float, float]
    whole_ms: tuple[float, float]
    server_cpu_ms: float
    client_cpu_ms: float


def main() -> int:
    """Measure, print tables, and write the JSON that was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=("hits", "replay"), help="only one of the two")
    parser.add_argument("--rounds", type=int, default=6, help="turns for each server (6)")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a turn (3)")
    parser.add_argument("--requests", type=int, default=10_000, help="length of the log (10000)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all figures")
    options = parser.parse_args()
    report: dict[str, Any] = {"machine": platform.machine(), "cores": os.cpu_count()}
    if options.part != "replay":
        responses, rows = _measure_hits(options.rounds, options.seconds)
        summary = responses[-1].summary
        report["response"] = {
            "messages": len(responses),
            "audio_ms": summary.audio_ms,
            "bytes": summary.byte_count,
        }
        report["hits"] = {
            load: {name: asdict(row) for name, row in by_name.items()}
            for load, by_name in rows.items()
        }
        report["ratios"] = {name: _ratio(rows, name) for name in (MEMORY, DISK)}
        _print_hits(report["response"], rows)
    if options.part != "hits":
        report["replay"] = replay(options.requests)
        _print_replay(report["replay"])
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0


def _measure_hits(
    rounds: int, seconds: float
) -> tuple[list[tts_pb2.SynthesizeResponse], dict[str, dict[str, Row]]]:
    with ExitStack() as stack:
        client = stack.enter_context(running_client())
        targets: dict[str, Target] = {}
        heard: list[list[tts_pb2.SynthesizeResponse]] = []
        # In one folder, since Piper doesn't speak the same twice.
        shared = {"TTS_CACHE__DIR": stack.enter_context(TemporaryDirectory())}
        for name, environment in ((MEMORY, {}), (DISK, {"TTS_CACHE__MEMORY_LIMIT_BYTES": "0"})):
            folder = stack.enter_context(TemporaryDirectory())
            server = stack.enter_context(
                running_server(Path(folder), keeps_speech=True, environment=shared | environment)
            )
            stub = stack.enter_context(server.stub())
            for _ in range(2):  # a miss, perhaps, and a hit
                responses = list(stub.Synthesize(REQUEST))
            heard.append(responses)
            targets[name] = Target(server.address, psutil.Process(server.process.pid))
        if heard[0][1:-1] != heard[1][1:-1]:
            raise RuntimeError("the servers send different speech")
        address, pid = stack.enter_context(running_bare_server(responses))
        targets = {BARE: Target(address, psutil.Process(pid)), **targets}
        for target in targets.values():  # warm
            client.take(target.address, REQUEST, Load(CALLERS, 1.0))
        rows = {ALL_OUT: _take_turns(client, targets, Load(CALLERS, seconds), rounds)}
        rows[HALF] = {
            name: row
            for name, target in targets.items()
            for row in _take_turns(
                client,
                {name: target},
                Load(CALLERS, seconds, statistics.median(rows[ALL_OUT][name].hits_hz) / 2),
                rounds,
            ).values()
        }
        rows[SINGLE] = _take_turns(client, targets, Load(1, seconds), rounds)
    return responses, rows


def _take_turns(
    client: Client, targets: Mapping[str, Target], load: Load, rounds: int
) -> dict[str, Row]:
    taken: dict[str, list[Any]] = {name: [] for name in targets}
    cpu_s = dict.fromkeys(targets, 0.0)
    for _ in range(rounds):
        for name, target in targets.items():
            before_s = _cpu_s(target)
            taken[name].append(client.take(target.address, REQUEST, load))
            cpu_s[name] += _cpu_s(target) - before_s
    rows = {}
    for name, turns in taken.items():
        calls = [call for turn in turns for call in turn.calls]
        rows[name] = Row(
            calls=len(calls),
            hits_hz=tuple(len(turn.calls) / turn.elapsed_s for turn in turns),
            first_ms=_quantiles([call.first_ms for call in calls]),
            audio_ms=_quantiles([call.audio_ms for call in calls]),
            whole_ms=_quantiles([call.whole_ms for call in calls]),
            server_cpu_ms=cpu_s[name] * 1000 / len(calls),
            client_cpu_ms=sum(turn.client_cpu_s for turn in turns) * 1000 / len(calls),
        )
    return rows


def _cpu_s(target: Target) -> float:
    times = target.process.cpu_times()
    return times.user + times.system


def _quantiles(values: Sequence[float]) -> tuple[float, float]:
    ordered = sorted(values)
    return statistics.median(ordered), ordered[int(0.99 * (len(ordered) - 1))]


def _ratio(rows: Mapping[str, Mapping[str, Row]], name: str) -> dict[str, float]:
    """Hits a second against bare gRPC, round by round; and the servers' processor time."""
    bare, row = rows[ALL_OUT][BARE], rows[ALL_OUT][name]
    ratios = [one / other for one, other in zip(row.hits_hz, bare.hits_hz, strict=True)]
    return {
        "hits_hz": statistics.median(ratios),
        "hits_hz_lowest": min(ratios),
        "hits_hz_highest": max(ratios),
        "server_cpu": bare.server_cpu_ms / row.server_cpu_ms,
    }


def _print_hits(response: Mapping[str, int], rows: Mapping[str, Mapping[str, Row]]) -> None:
    print(
        f"MP3 of {response['audio_ms'] / 1000:.1f} s, {response['bytes']} bytes in "
        f"{response['messages']} messages; ms, p50 and p99"
    )
    for load, by_name in rows.items():
        print(
            f"\n{load:<24}{'calls':>6}{'hits/s':>8}{'first byte':>14}{'first audio':>14}"
            f"{'whole':>15}{'CPU server':>12}{'client':>8}"
        )
        for name, row in by_name.items():
            print(
                f"{name:<24}{row.calls:>6}{statistics.median(row.hits_hz):>8.0f}"
                f"{_pair(row.first_ms)}{_pair(row.audio_ms)} {_pair(row.whole_ms)}"
                f"{row.server_cpu_ms:>12.2f}{row.client_cpu_ms:>8.2f}"
            )
    for name in (MEMORY, DISK):
        ratio = _ratio(rows, name)
        print(
            f"{name} against bare gRPC: hits/s {ratio['hits_hz']:.2f} "
            f"({ratio['hits_hz_lowest']:.2f} to {ratio['hits_hz_highest']:.2f}), "
            f"by processor time {ratio['server_cpu']:.2f}"
        )


def _pair(quantiles: tuple[float, float]) -> str:
    return f"{quantiles[0]:>7.1f}{quantiles[1]:>7.1f}"


def _print_replay(figures: Mapping[str, float]) -> None:
    mib = {name: value / (1 << 20) for name, value in figures.items() if name.endswith("_bytes")}
    excess = figures["largest_size_bytes"] - figures["size_limit_bytes"]
    print(
        f"\nreplay: {figures['requests']} requests for {figures['phrases']} phrases, "
        f"{figures['top_share']:.0%} of them for 20; {mib['working_set_bytes']:.1f} MiB through "
        f"{mib['size_limit_bytes']:.0f}; {figures['elapsed_s']:.0f} s"
    )
    print(f"hit ratio {figures['hit_ratio']:.1%}, of an ideal LRU {figures['ideal_hit_ratio']:.1%}")
    print(
        f"largest size seen in {figures['looks']} looks {mib['largest_size_bytes']:.3f} MiB: "
        f"{excess:+.0f} bytes against the limit, one value has up to "
        f"{figures['largest_value_bytes']:.0f}; of the files {mib['largest_files_bytes']:.3f} MiB"
    )
    print(
        f"hit {figures['hit_p50_ms']:.1f} ms, p99 {figures['hit_p99_ms']:.1f}, slowest "
        f"{figures['hit_slowest_ms']:.1f}; miss {figures['miss_p50_ms']:.1f} ms, fastest "
        f"{figures['miss_fastest_ms']:.1f}"
    )


if __name__ == "__main__":
    sys.exit(main())
