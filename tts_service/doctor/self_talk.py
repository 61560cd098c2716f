"""Starts a private server, has it say a sentence, and listens.

It is the real server with the real workers, on a socket in a folder that is removed afterwards,
without a cache, and the real client that asks it. What else runs on this machine is left alone.
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from audio_codec import CodecError, Encoding
from voice_store import VoiceStore

from ..config import CacheSettings, ConfigError, Settings
from .decoding import decode_frames
from .finding import Finding, fail, ok, warn
from .listening import listen, oddities

__all__ = ["look_at_speech"]

_SENTENCE = "The quick brown fox jumps over the lazy dog, and nobody minds."
_ENCODINGS = (Encoding.WAV, Encoding.OGG_OPUS, Encoding.MP3)
_TIMEOUT_S = 120.0
# What decides how the engines speak. All else, such as who may call, is as it comes: the private
# server has one caller.
_KEPT = ("engines", "worker_start_timeout_s", "worker_health_interval_s", "piper", "tone", "xtts")


def look_at_speech(settings: Settings) -> Iterator[Finding]:
    """Has each engine say a sentence in a few encodings."""
    with tempfile.TemporaryDirectory(prefix="tts-doctor-") as folder:
        yield from asyncio.run(_talk(_private(settings, Path(folder))))


def _private(settings: Settings, folder: Path) -> Settings:
    values: dict[str, Any] = {
        name: field.get_default(call_default_factory=True)
        for name, field in Settings.model_fields.items()
    }
    values |= {name: getattr(settings, name) for name in _KEPT}
    checkpoint_dir = Path(settings.engine_options("xtts")["checkpoint_dir"])
    values |= {
        "listen": f"unix:{folder / 'socket'}",
        "data_dir": folder,
        "cache": CacheSettings(enabled=False),
        "xtts": settings.xtts.model_copy(update={"checkpoint_dir": checkpoint_dir}),
        "log_level": "error",
        "log_format": "console",
    }
    return Settings.model_construct(**values)


async def _talk(settings: Settings) -> list[Finding]:
    from tts_client import AsyncClient, TtsError

    findings = []
    try:
        async with _serving(settings), AsyncClient(settings.listen) as client:
            for engine in settings.engines:
                voices = [voice.id async for voice in client.voices(engine=engine)]
                if not voices:
                    advice = "see its settings"
                    findings.append(fail("speech", f"engine {engine} has no voice", advice))
                    continue
                findings += [await _say(client, engine, voices[0], one) for one in _ENCODINGS]
    except (ConfigError, TimeoutError) as error:
        problem = str(error) or "it is not ready in time"
        findings.append(
            fail("speech", f"the server does not start: {problem}", "see the lines above")
        )
    except TtsError as error:
        findings.append(fail("speech", f"the server does not answer: {error}", "see its log"))
    return findings


@asynccontextmanager
async def _serving(settings: Settings) -> AsyncIterator[None]:
    """A server that is ready.

    Raises:
        ConfigError, TimeoutError: it can't be.
    """
    from ..server import Server

    ready, stop = asyncio.Event(), asyncio.Event()
    with VoiceStore.open(settings.data_dir / "voices") as store:
        server = Server(settings, store, None, on_ready=lambda _port, _about: ready.set())
        serving = asyncio.create_task(server.run(stop))
        waiting = asyncio.create_task(ready.wait())
        try:
            done, _ = await asyncio.wait(
                {serving, waiting},
                timeout=settings.worker_start_timeout_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if serving in done:
                await serving
            if not done:
                raise TimeoutError
            yield
        finally:
            stop.set()
            waiting.cancel()
            await asyncio.wait({serving})
            if not serving.cancelled():
                serving.exception()  # raised above if it came before it was ready


async def _say(client: Any, engine: str, voice: str, encoding: Encoding) -> Finding:
    from tts_client import TtsError

    what = f"{voice} of {engine} in {encoding.value}"
    began_s = time.monotonic()
    first_s = 0.0
    frames: list[bytes] = []
    try:
        async with client.synthesize(
            _SENTENCE, voice=voice, format=encoding.value, timeout_s=_TIMEOUT_S
        ) as speech:
            header = await speech.header()
            async for frame in speech:
                first_s = first_s or time.monotonic() - began_s
                frames.append(frame.data)
        took_s = time.monotonic() - began_s
        summary = speech.summary
    except TtsError as error:  # also when a checksum or the summary is wrong
        return fail("speech", f"{what}: {type(error).__name__}: {error}", "see the lines above")
    try:
        samples, rate_hz = decode_frames(encoding, header.format.sample_rate_hz, frames)
    except (CodecError, ValueError, av.FFmpegError) as error:
        return fail("speech", f"{what} can't be decoded: {error}", "install the package av anew")
    return _judge(what, engine, samples, rate_hz, summary, first_s, took_s)


def _judge(
    what: str,
    engine: str,
    samples: NDArray[np.float32],
    rate_hz: int,
    summary: Any,
    first_s: float,
    took_s: float,
) -> Finding:
    heard = listen(samples, rate_hz)
    # Tones are no speech, and aren't meant to be.
    odd = list(oddities(heard, characters=len(_SENTENCE), is_voice=engine != "tone"))
    if abs(heard.duration_s - summary.audio_ms / 1000) > 0.2:
        odd.append(f"{summary.audio_ms / 1000:.1f} s were promised, {heard.duration_s:.1f} s came")
    pace = took_s / heard.duration_s if heard.duration_s else 0.0
    found = (
        f"{what}: {heard.duration_s:.1f} s, {heard.level_dbfs:.0f} dBFS, first audio after "
        f"{first_s * 1000:.0f} ms, real-time factor {pace:.2f}"
    )
    if odd:
        return fail(
            "speech", f"{found}; {', '.join(odd)}", "listen to it: tts say; try another voice"
        )
    if pace > 1.0:
        return warn("speech", found, "it is slower than it plays; use a quicker machine or engine")
    return ok("speech", found)
