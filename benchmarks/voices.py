"""What uploading and keeping voices costs, and whether a voice survives its format.

    python benchmarks/voices.py [--runs N] [--voices N] [--json FILE]

1. An upload of 15 s of MP3 end to end, and where the time goes, from the server's own log.
2. The first page of ListVoices and the start of the server with a thousand voices.
3. The same speech uploaded in six formats: lengths and loudness of what is kept and, where the
   package `resemblyzer` is installed, how near an independent speaker encoder finds them.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soxr
from numpy.typing import NDArray

from protos.tts.v1 import tts_pb2, tts_pb2_grpc
from tests.audio_files import AudioFileKind, audio_file
from tests.human_speech import SAMPLE_RATE_HZ, speech
from tests.server_process import ServerProcess, running_server
from voice_store import PreparedRecording, StyleQuality, VoiceStore

FORMATS = {
    "WAV 44.1 kHz stereo": (AudioFileKind.WAV, 44_100, 2, None),
    "FLAC 48 kHz": (AudioFileKind.FLAC, 48_000, 1, None),
    "MP3 128 kb/s": (AudioFileKind.MP3, 44_100, 1, 128_000),
    "Opus 24 kb/s": (AudioFileKind.OGG_OPUS, 48_000, 1, 24_000),
    "M4A": (AudioFileKind.M4A, 44_100, 1, 128_000),
    "WAV 8 kHz mu-law": (AudioFileKind.WAV_MULAW, 8_000, 1, None),
}


def main() -> int:
    """Measure, print, and write the JSON that was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=10, help="uploads and listings (10)")
    parser.add_argument("--voices", type=int, default=1000, help="voices in the store (1000)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        report = {
            "upload": _uploads(Path(folder) / "upload", options.runs),
            "store": _store(Path(folder) / "store", options.voices, options.runs),
            "formats": _formats(Path(folder) / "formats"),
        }
    _print(report)
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0


def _upload(stub: tts_pb2_grpc.TextToSpeechStub, data: bytes, voice_id: str = "") -> tts_pb2.Voice:
    def parts() -> Iterator[tts_pb2.UploadVoiceRequest]:
        metadata = tts_pb2.VoiceMetadata(display_name="Anna", language="en", voice_id=voice_id)
        yield tts_pb2.UploadVoiceRequest(metadata=metadata)
        yield tts_pb2.UploadVoiceRequest(recording=tts_pb2.Recording())
        for start in range(0, len(data), 1 << 16):
            yield tts_pb2.UploadVoiceRequest(data=data[start : start + (1 << 16)])

    return stub.UploadVoice(parts()).voice


def _uploads(folder: Path, runs: int) -> dict[str, float]:
    folder.mkdir()
    samples = speech().samples[: 15 * SAMPLE_RATE_HZ]
    data = audio_file(AudioFileKind.MP3, samples, SAMPLE_RATE_HZ)
    took_ms = []
    with running_server(folder, "--engine", "tone") as server, server.stub() as stub:
        for _ in range(runs):
            began = time.perf_counter()
            _upload(stub, data)
            took_ms.append((time.perf_counter() - began) * 1000)
        lines = [json.loads(line) for line in server.log.splitlines() if "UploadVoice" in line]
    figures = {"end_to_end_ms": statistics.median(took_ms)}
    for name in ("receive_ms", "prepare_ms", "embed_ms", "keep_ms"):
        figures[name] = statistics.median(line[name] for line in lines)
    return figures


def _store(folder: Path, voices: int, runs: int) -> dict[str, float]:
    folder.mkdir()
    figures = {"ready_empty_s": min(_ready_s(folder) for _ in range(3))}
    _fill(folder / "data" / "voices", voices)
    figures["ready_full_s"] = min(_ready_s(folder) for _ in range(3))
    with running_server(folder, "--engine", "piper") as server, server.stub() as stub:
        took_ms = []
        for _ in range(runs * 10):
            began = time.perf_counter()
            page = stub.ListVoices(tts_pb2.ListVoicesRequest())
            took_ms.append((time.perf_counter() - began) * 1000)
        figures["voices_on_first_page"] = len(page.voices)
        figures["first_page_p50_ms"] = statistics.median(took_ms)
        figures["front_resident_mb"] = _resident_mb(server)
    return figures


def _ready_s(folder: Path) -> float:
    began = time.monotonic()
    with running_server(folder, "--engine", "piper"):
        return time.monotonic() - began


def _resident_mb(server: ServerProcess) -> float:
    import psutil

    return float(psutil.Process(server.process.pid).memory_info().rss / 1e6)


def _fill(root: Path, voices: int) -> None:
    quality = StyleQuality("neutral", 1, 4000, 3500, 4000, -25.0, -20.0, -3.0, 0.0, 40.0, 9000, ())
    recording = PreparedRecording("neutral", np.zeros(24_000, np.int16), quality)
    with VoiceStore.open(root) as store:
        for number in range(voices):
            with store.begin(
                voice_id=f"voice-{number:04}",
                display_name=f"Voice {number}",
                language="en",
                recordings=[recording],
                consent=None,
                request_id=f"request-{number}",
            ) as draft:
                draft.commit()


def _formats(folder: Path) -> list[dict[str, object]]:
    folder.mkdir()
    source = speech().samples
    rows: list[dict[str, object]] = []
    kept: list[NDArray[np.int16]] = []
    with running_server(folder, "--engine", "tone") as server, server.stub() as stub:
        for name, (kind, rate_hz, channels, bitrate_bps) in FORMATS.items():
            samples = soxr.resample(source, SAMPLE_RATE_HZ, rate_hz)
            planes = np.stack([samples] * channels)
            voice = _upload(stub, audio_file(kind, planes, rate_hz, bitrate_bps=bitrate_bps))
            (quality,) = voice.quality
            with VoiceStore.open(server.data_dir / "voices") as store:
                kept.append(store.samples(voice.id, "neutral"))
            rows.append(
                {
                    "format": name,
                    "kept_ms": quality.kept_ms,
                    "loudness_lufs": round(quality.loudness_after_lufs, 2),
                    "bandwidth_hz": quality.bandwidth_hz,
                }
            )
    if find_spec("resemblyzer") is not None:
        original = soxr.resample(source, SAMPLE_RATE_HZ, 24_000)
        for row, cosine in zip(rows, _cosines(original, kept), strict=True):
            row["cosine_to_original"] = round(cosine, 3)
    return rows


def _cosines(original: NDArray[np.float32], kept: list[NDArray[np.int16]]) -> list[float]:
    from resemblyzer import VoiceEncoder, preprocess_wav

    encoder = VoiceEncoder("cpu", verbose=False)
    reference = encoder.embed_utterance(preprocess_wav(original, source_sr=24_000))
    return [
        float(
            reference
            @ encoder.embed_utterance(
                preprocess_wav(samples.astype(np.float32) / 32768, source_sr=24_000)
            )
        )
        for samples in kept
    ]


def _print(report: dict[str, object]) -> None:
    for title, figures in report.items():
        print(title)
        rows = figures if isinstance(figures, list) else [figures]
        for row in rows:
            assert isinstance(row, dict)
            print(
                "  "
                + ", ".join(
                    f"{name} {round(value, 2) if isinstance(value, float) else value}"
                    for name, value in row.items()
                )
            )


if __name__ == "__main__":
    sys.exit(main())
