"""XTTS v2 against stock `coqui-tts`, on the same weights in one run.

    python benchmarks/xtts.py [--checkpoint DIR] [--device cpu|cuda] [--streams 16] [--codes 200]

Without a checkpoint one of the official size with random weights is made, which costs the same
work. Each utterance is forced to the same number of codes, since random weights don't know when to
stop.

1. Throughput: stock `inference_stream` one after another; ours with N streams at once.
2. First audio: both with one stream and their default first chunk; ours also with N streams.
3. Vocoder work: all windows of 600 codes against one decode of the whole.
4. Precision: the same codes' waveform with the GPT in bfloat16 against float32, in decibels.
5. Memory of a GPU, as computed and as allocated; xtts_memory.py has a CPU's.
"""

import argparse
import json
import os
import statistics
import sys
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from tests.xtts_checkpoint import OFFICIAL, load_stock, write_checkpoint
from tts_service.engines.listener import Listener
from tts_service.engines.xtts.checkpoint import Checkpoint, load_checkpoint
from tts_service.engines.xtts.conditioning import Conditioning
from tts_service.engines.xtts.decoder import Decoder, Prompt
from tts_service.engines.xtts.gpt import Gpt
from tts_service.engines.xtts.loop import DecodeLoop
from tts_service.engines.xtts.precision import choose_device, choose_dtype
from tts_service.engines.xtts.sampling import SampleRules
from tts_service.engines.xtts.scheduler import Scheduler, next_chunk_codes
from tts_service.engines.xtts.stream import Stream
from tts_service.engines.xtts.utterance import Utterance
from tts_service.engines.xtts.vocoder import Vocoder, WindowStream
from tts_service.ops.allocator import keep_freed_memory

TEXT = "The quick brown fox jumps over the lazy dog, and then it runs away into the wood."
RATE_HZ = 24_000
VOCODER_CODES = 600


@dataclass(frozen=True, slots=True)
class Heard:
    """What one listener saw."""

    first_s: float
    total_s: float
    audio_s: float


def main() -> int:
    """Measure, print, and write the JSON that was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", type=Path, help="folder in the official layout")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (auto)")
    parser.add_argument("--precision", default="auto", help="of the GPT: auto, float32, bfloat16")
    parser.add_argument("--streams", type=int, default=16, help="streams at once (16)")
    parser.add_argument("--codes", type=int, default=200, help="codes of each utterance (200)")
    parser.add_argument("--runs", type=int, default=3, help="runs for the medians (3)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    with TemporaryDirectory() as folder:
        if options.checkpoint is None:
            print("writing a checkpoint with random weights ...", file=sys.stderr)
            options.checkpoint = write_checkpoint(Path(folder) / "xtts", OFFICIAL)
        report = measure(options)
    for title, figures in report.items():
        print(title)
        for name, value in figures.items():
            print(
                f"  {name:<34} {value:.3f}" if isinstance(value, float) else f"  {name:<34} {value}"
            )
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0


def measure(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Run all parts, one after another, stock first and gone before ours is loaded."""
    device = choose_device(options.device)
    dtype = choose_dtype(options.precision, device)
    report: dict[str, dict[str, Any]] = {
        "machine": {
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name(),
            "cores": os.cpu_count(),
            "torch": torch.__version__,
            "gpt": str(dtype),
            "vocoder": "torch.float32",
            "streams": options.streams,
            "codes": options.codes,
        }
    }
    stock = _measure_stock(options, device)
    report["stock, one after another"] = stock
    checkpoint = load_checkpoint(options.checkpoint)
    gpt = Gpt(checkpoint.gpt, dtype, device)
    vocoder = Vocoder(checkpoint.vocoder, device, batched=device.type == "cuda")
    decoder = Decoder(gpt, options.streams)
    decoder.warm_up()
    keep_freed_memory()
    scheduler = Scheduler(
        options.streams, run_ahead_s=600.0, chunks_per_turn=0 if device.type == "cuda" else 1
    )
    loop = DecodeLoop(decoder, vocoder, scheduler, max_open=options.streams)
    try:
        ask = _asker(checkpoint, vocoder, loop, options.codes)
        ask(0)
        alone = [_listen(ask, 1)[0] for _ in range(options.runs)]
        crowds = [_listen(ask, options.streams) for _ in range(options.runs)]
    finally:
        loop.close()
    rates = [
        sum(one.audio_s for one in crowd) / max(one.total_s for one in crowd) for crowd in crowds
    ]
    firsts = sorted(one.first_s for crowd in crowds for one in crowd)
    ours = {
        "first_audio_alone_s": statistics.median(one.first_s for one in alone),
        "audio_per_s_alone": statistics.median(one.audio_s / one.total_s for one in alone),
        "audio_per_s": statistics.median(rates),
        "first_audio_p50_s": statistics.median(firsts),
        "first_audio_p95_s": firsts[int(0.95 * (len(firsts) - 1))],
    }
    report[f"ours, {options.streams} streams"] = ours
    report["ratios"] = {
        "audio_per_s": ours["audio_per_s"] / stock["audio_per_s"],
        "audio_per_s_alone": ours["audio_per_s_alone"] / stock["audio_per_s"],
        "first_audio_alone": ours["first_audio_alone_s"] / stock["first_audio_s"],
        "first_audio_p95_of_stock_alone": ours["first_audio_p95_s"] / stock["first_audio_s"],
    }
    report["vocoder"] = _measure_vocoder(vocoder, gpt.width, options.runs)
    if device.type == "cuda":
        report["memory"] = _measure_memory(gpt, decoder, options, device)
    report["precision"] = _measure_precision(checkpoint, vocoder, options.codes)
    return report


def _measure_stock(options: argparse.Namespace, device: torch.device) -> dict[str, float]:
    model = load_stock(options.checkpoint, OFFICIAL).to(device)
    speaker = next(iter(model.speaker_manager.speakers.values()))
    forced = {"min_new_tokens": options.codes, "max_new_tokens": options.codes}
    heard = []
    for _ in range(options.runs):
        began, first_s, samples = time.perf_counter(), 0.0, 0
        for chunk in model.inference_stream(TEXT, "en", *speaker.values(), **forced):
            samples += chunk.cpu().numel()
            first_s = first_s or time.perf_counter() - began
        heard.append(Heard(first_s, time.perf_counter() - began, samples / RATE_HZ))
    return {
        "first_audio_s": statistics.median(one.first_s for one in heard),
        "audio_per_s": statistics.median(one.audio_s / one.total_s for one in heard),
    }


def _asker(
    checkpoint: Checkpoint, vocoder: Vocoder, loop: DecodeLoop, codes: int
) -> Callable[[int], Heard]:
    """Returns what asks for one utterance of so many codes and listens to its end."""
    voices = list(checkpoint.speakers.values())
    text = checkpoint.tokenizer.encode(TEXT.lower(), "en")

    def ask(number: int) -> Heard:
        began = time.perf_counter()
        stream = Stream(len(TEXT), loop.wake)
        loop.submit(
            Utterance(
                stream,
                voices[number % len(voices)],
                text,
                SampleRules(seed=number, min_codes=codes),
                vocoder,
                max_codes=codes,
                speed=1.0,
                look_ahead=False,
                listener=Listener(),
            )
        )
        first_s, samples = 0.0, 0
        for chunk in stream:
            samples += len(chunk.samples)
            first_s = first_s or time.perf_counter() - began
        return Heard(first_s, time.perf_counter() - began, samples / RATE_HZ)

    return ask


def _listen(ask: Callable[[int], Heard], streams: int) -> list[Heard]:
    heard: list[Heard] = []
    threads = [
        threading.Thread(target=lambda n=number: heard.append(ask(n))) for number in range(streams)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return heard


@torch.inference_mode()
def _measure_vocoder(vocoder: Vocoder, width: int, runs: int) -> dict[str, float]:
    """Time the windows of a whole utterance, as one stream alone gets them."""
    latents = torch.randn(VOCODER_CODES, width)
    speaker = torch.nn.functional.normalize(torch.randn(512), dim=0)

    def whole_s() -> float:
        return _speak_s(vocoder, latents, speaker, [VOCODER_CODES])

    ends: list[int] = []
    chunk = 0
    while not ends or ends[-1] < VOCODER_CODES:
        chunk = next_chunk_codes(chunk, batch=1)
        ends.append(min(VOCODER_CODES, (ends[-1] if ends else 0) + chunk))
    whole_s()
    pairs = [(whole_s(), _speak_s(vocoder, latents, speaker, ends)) for _ in range(runs)]
    return {
        "windows": len(ends),
        "whole_s": statistics.median(whole for whole, _ in pairs),
        "windows_s": statistics.median(windows for _, windows in pairs),
        "ratio": statistics.median(windows / whole for whole, windows in pairs),
    }


def _speak_s(
    vocoder: Vocoder, latents: torch.Tensor, speaker: torch.Tensor, ends: list[int]
) -> float:
    began = time.perf_counter()
    windows = WindowStream(vocoder, speaker, 1.0)
    for end in ends:
        window = windows.next_window(latents[:end], final=end == ends[-1])
        if window is not None:
            vocoder.speak([window])
    return time.perf_counter() - began


@torch.inference_mode()
def _measure_precision(checkpoint: Checkpoint, vocoder: Vocoder, codes: int) -> dict[str, float]:
    """Compare waveforms of the same codes, with the GPT in both precisions, on the CPU."""
    device = torch.device("cpu")
    voice = next(iter(checkpoint.speakers.values()))
    text = checkpoint.tokenizer.encode(TEXT.lower(), "en")
    made = {
        dtype: _decode(Gpt(checkpoint.gpt, dtype, device), voice, text, codes)
        for dtype in (torch.float32, torch.bfloat16)
    }
    (codes_32, latents_32), (codes_16, latents_16) = made.values()
    same = next(
        (n for n, pair in enumerate(zip(codes_32, codes_16, strict=True)) if pair[0] != pair[1]),
        codes,
    )
    exact, reduced = (
        _whole(vocoder, latents[:same], voice) for latents in (latents_32, latents_16)
    )
    noise = (reduced - exact).square().mean()
    return {
        "codes_alike": same,
        "gpt_bfloat16_snr_db": float(10 * torch.log10(exact.square().mean() / noise)),
    }


def _decode(
    gpt: Gpt, voice: Conditioning, text: list[int], codes: int
) -> tuple[list[int], torch.Tensor]:
    decoder = Decoder(gpt, 1)
    made = [decoder.begin(0, Prompt(voice.latents, text, SampleRules(min_codes=codes)))]
    while len(made) < codes:
        made += decoder.step([0])
    return made, decoder.latents(0, codes).clone()


def _whole(vocoder: Vocoder, latents: torch.Tensor, voice: Conditioning) -> torch.Tensor:
    window = WindowStream(vocoder, voice.speaker, 1.0).next_window(latents, final=True)
    if window is None:
        raise ValueError("there is nothing to speak")
    return vocoder.speak([window])[0]


def _measure_memory(
    gpt: Gpt, decoder: Decoder, options: argparse.Namespace, device: torch.device
) -> dict[str, float]:
    """Compare what the shapes add up to with what the GPU holds."""
    blocks = gpt.layers * (12 * gpt.width**2 + 13 * gpt.width) * torch.finfo(gpt.dtype).bits // 8
    return {
        "layers_mb": blocks / 1e6,
        "slot_mb": decoder.slot_bytes / 1e6,
        "all_slots_mb": options.streams * decoder.slot_bytes / 1e6,
        "allocated_mb": torch.cuda.memory_allocated(device) / 1e6,
    }


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "CPU"


if __name__ == "__main__":
    sys.exit(main())
