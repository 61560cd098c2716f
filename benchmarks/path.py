"""Where the milliseconds to the first audio go, for PCM, MP3 and Ogg Opus.

    python benchmarks/path.py [--runs N] [--json FILE]

A caller of a server of its own and each step of the same by itself, in this process, take turns:

- *call* is the caller's time until the first frame, *in the front* what the summary says of it;
  the difference is the client's and HTTP/2's.
- *planning*, *phonemes and text*, *first window* and *encoder* are the same code on the same
  sentence, here, one after another.
- *worker call, event loops* is what the front needs beyond those.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from machine import Machine
from report import Result, Row, Spread
from texts import SENTENCE

from audio_codec import Encoding, StreamEncoder, resolve_format
from protos.tts.v1 import tts_pb2, tts_pb2_grpc
from tests.server_process import running_server
from tts_service.engines.base import RenderJob
from tts_service.engines.piper import PiperEngine
from tts_service.synthesis.plan import plan_segments

FORMATS = {
    "PCM": (tts_pb2.ENCODING_PCM_S16LE, Encoding.PCM_S16LE),
    "MP3": (tts_pb2.ENCODING_MP3, Encoding.MP3),
    "Ogg Opus": (tts_pb2.ENCODING_OGG_OPUS, Encoding.OGG_OPUS),
}
_FIRST_RUN_MS = 100  # what the front encodes first


class Steps:
    """Times by step, in ms."""

    def __init__(self) -> None:
        self.times_ms: dict[str, list[float]] = {}

    @contextmanager
    def time(self, step: str) -> Iterator[None]:
        """Measures what is done while the context is open."""
        began_s = time.perf_counter()
        yield
        self.add(step, (time.perf_counter() - began_s) * 1000)

    def add(self, step: str, time_ms: float) -> None:
        """Notes one measurement."""
        self.times_ms.setdefault(step, []).append(time_ms)


def main() -> int:
    """Measure, print a table, and write the JSON that was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=50, help="turns (50)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures")
    options = parser.parse_args()
    result = _measure(options.runs)
    print(result.to_markdown())
    if options.json:
        result.write_json(options.json)
    return 0


def _measure(runs: int) -> Result:
    steps = {name: Steps() for name in FORMATS}
    with TemporaryDirectory() as folder, running_server(Path(folder)) as server:
        # The server's own parts: its voice is not taken apart again.
        engine = PiperEngine(parts_dir=str(server.data_dir / "piper"))
        with server.stub() as stub:
            for turn in range(runs + 3):
                for name, (wire, encoding) in FORMATS.items():
                    kept = steps[name] if turn >= 3 else Steps()  # the first ones warm up
                    _call(stub, wire, kept)
                    _alone(engine, encoding, kept)
        engine.close()
    return Result(
        benchmark="path",
        title="Where the time to the first audio goes",
        method=(
            f"{runs} turns, {len(SENTENCE)} characters; medians in ms, and the 10th and 90th "
            "percentile. `benchmarks/path.py` says how the steps are told apart."
        ),
        rows=tuple(
            Row(step, {name: Spread.of(steps[name].times_ms[step]) for name in FORMATS})
            for step in steps["PCM"].times_ms
        ),
        machine=Machine.here(),
        settings={"runs": runs, "text": SENTENCE},
    )


def _call(stub: tts_pb2_grpc.TextToSpeechStub, wire: tts_pb2.Encoding.ValueType, to: Steps) -> None:
    request = tts_pb2.SynthesizeRequest(
        text=SENTENCE,
        format=tts_pb2.AudioFormat(encoding=wire),
        cache=tts_pb2.CACHE_MODE_BYPASS,
    )
    began_s = time.perf_counter()
    first_ms = front_ms = 0.0
    for event in stub.Synthesize(request):
        if event.HasField("audio"):
            first_ms = first_ms or (time.perf_counter() - began_s) * 1000
        elif event.HasField("summary"):
            front_ms = event.summary.first_audio_ms
    to.add("call", first_ms)
    to.add("in the front", front_ms)


def _alone(engine: PiperEngine, encoding: Encoding, to: Steps) -> None:
    description = engine.describe()
    voice = description.voices[0]
    with to.time("planning"):
        segments = plan_segments(
            SENTENCE,
            max_characters=description.max_segment_characters,
            opening_characters=description.opening_characters,
        )
    with to.time("phonemes, text, first window"):
        render = engine.render(RenderJob(segments[0].text, voice.id, voice.languages[0]))
        samples = next(render).samples
    render.cancel()
    rate_hz = voice.sample_rate_hz
    with to.time("encoder"):
        encoder = StreamEncoder(
            resolve_format(encoding, source_rate_hz=rate_hz), source_rate_hz=rate_hz
        )
        frames = encoder.encode(samples[: rate_hz * _FIRST_RUN_MS // 1000])
    encoder.close()
    if not frames:
        raise RuntimeError(f"{encoding} gives nothing of its first run")
    others_ms = sum(to.times_ms[step][-1] for step in list(to.times_ms)[2:5])
    to.add("worker call, event loops", to.times_ms["in the front"][-1] - others_ms)
    to.add("client, HTTP/2", to.times_ms["call"][-1] - to.times_ms["in the front"][-1])


if __name__ == "__main__":
    sys.exit(main())
