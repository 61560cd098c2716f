"""A worker's servicer and the front's connection, each on the other end of `engine.v1`."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import grpc.aio
import numpy as np
import pytest
from numpy.typing import NDArray

from protos.engine.v1 import engine_pb2, engine_pb2_grpc
from tts_service.engines.base import (
    Ability,
    EngineBusyError,
    EngineDescription,
    EngineVoice,
    NotPossibleError,
    PcmChunk,
    RenderJob,
    VoiceShare,
)
from tts_service.engines.servicer import EngineServicer
from tts_service.errors import NotPossible, Overloaded
from tts_service.fleet import Connection, SegmentJob, Speaker
from tts_service.sampling import Sampling

_VOICE_RATE_HZ, _CLONE_RATE_HZ = 22_050, 24_000


class _Engine:
    """Speaks one sample a job, or refuses it; keeps what it was asked."""

    def __init__(self, refusal: Exception | None = None, together: int = 1) -> None:
        self.jobs: list[RenderJob] = []
        self.recordings: list[tuple[list[float], int, str]] = []
        self._refusal = refusal
        self._all_are_here = threading.Barrier(together, timeout=10)

    def describe(self) -> EngineDescription:
        return EngineDescription(
            name="scripted",
            voices=(EngineVoice("own", "Own", ("en",), _VOICE_RATE_HZ, "v1"),),
            model_fingerprint="m1",
            max_segment_characters=250,
            max_concurrent_renders=1,
            abilities=frozenset(Ability),
            clone_languages=("en", "zh-cn"),
            clone_sample_rate_hz=_CLONE_RATE_HZ,
            segment_characters_by_language={"zh-cn": 82, "de": 253},
            max_open_renders=3,
            opening_characters=80,
        )

    def render(self, job: RenderJob) -> "_Render":
        self.jobs.append(job)
        if self._refusal is not None:
            raise self._refusal
        return _Render(self._all_are_here)

    def embed(self, samples: NDArray[np.float32], sample_rate_hz: int, language: str) -> bytes:
        self.recordings.append((samples.tolist(), sample_rate_hz, language))
        return b"anna"

    def close(self) -> None:
        pass


class _Render:
    sample_count = 1

    def __init__(self, all_are_here: threading.Barrier) -> None:
        self._all_are_here = all_are_here
        self._chunks = iter([PcmChunk(np.ones(1, np.float32), 0, 1)])

    def __iter__(self) -> Iterator[PcmChunk]:
        return self

    def __next__(self) -> PcmChunk:
        chunk = next(self._chunks)
        self._all_are_here.wait()
        return chunk

    def cancel(self) -> None:
        pass


@asynccontextmanager
async def _connected(engine: _Engine) -> AsyncIterator[Connection]:
    servicer = EngineServicer()
    servicer.attach(engine)
    server = grpc.aio.server()
    engine_pb2_grpc.add_EngineServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    connection = Connection("scripted", f"127.0.0.1:{port}")
    try:
        yield connection
    finally:
        await connection.close()
        await server.stop(0)
        await servicer.close()


async def _rate_hz(connection: Connection, job: SegmentJob) -> int:
    async with connection.render(job, request_id="r") as stream:
        samples = [len(audio.samples) async for audio in stream.audio]
    assert samples == [1]
    return stream.sample_rate_hz


async def test_a_recording_arrives_whole() -> None:
    engine = _Engine()
    # More than one message has room for.
    samples = np.tile(np.array([0, 1, -1, 16384, 32767, -32768], np.int16), 100_000)
    async with _connected(engine) as connection:
        made = await connection.embed(samples, sample_rate_hz=24_000, language="en-GB")
    assert (made.embedding, made.model_fingerprint) == (b"anna", "m1")
    ((heard, rate_hz, language),) = engine.recordings
    assert heard == [0.0, 1 / 32768, -1 / 32768, 0.5, 32767 / 32768, -1.0] * 100_000
    assert (rate_hz, language) == (24_000, "en-GB")


async def test_a_job_arrives_whole() -> None:
    engine = _Engine()
    jobs = [
        SegmentJob("One.", (Speaker("own"),), "en"),
        SegmentJob(
            "Two.",
            (Speaker("", b"anna"),),
            "zh-CN",
            speed=0.5,
            sampling=Sampling(temperature=0.0, seed=0),
            look_ahead=True,
        ),
        SegmentJob(
            "Three.",
            (Speaker("own", weight=0.25), Speaker("", b"ben", 1.0)),
            "de",
            sampling=Sampling(0.7, 50, 0.85, 10.0, (1 << 63) - 1),
        ),
    ]
    async with _connected(engine) as connection:
        rates_hz = [await _rate_hz(connection, job) for job in jobs]
    assert engine.jobs == [
        RenderJob("One.", "own", "en"),
        RenderJob(
            "Two.",
            "",
            "zh-CN",
            0.5,
            b"anna",
            sampling=Sampling(temperature=0.0, seed=0),
            look_ahead=True,
        ),
        RenderJob(
            "Three.",
            "",
            "de",
            mix=(VoiceShare("own", b"", 0.25), VoiceShare("", b"ben", 1.0)),
            sampling=Sampling(0.7, 50, 0.85, 10.0, (1 << 63) - 1),
        ),
    ]
    assert rates_hz == [_VOICE_RATE_HZ, _CLONE_RATE_HZ, _CLONE_RATE_HZ]


async def test_a_description_arrives_whole() -> None:
    async with _connected(_Engine()) as connection:
        description = await connection.describe()
    assert set(description.abilities) == set(engine_pb2.Ability.values()) - {0}
    assert dict(description.segment_characters_by_language) == {"zh-cn": 82, "de": 253}
    assert description.max_open_renders == 3
    assert description.opening_characters == 80


async def test_a_busy_engine_says_when_to_come_back() -> None:
    async with _connected(_Engine(EngineBusyError())) as connection:
        with pytest.raises(Overloaded) as caught:
            await _rate_hz(connection, SegmentJob("Hello.", (Speaker("own"),), "en"))
    assert caught.value.reason == "ENGINE_BUSY"
    assert caught.value.retry_after_ms > 0


async def test_what_an_installation_cant_do_is_said_in_its_engines_words() -> None:
    refusal = NotPossibleError("Japanese needs the package 'cutlet'")
    async with _connected(_Engine(refusal)) as connection:
        with pytest.raises(NotPossible, match=r"^Japanese needs the package 'cutlet'$") as caught:
            await _rate_hz(connection, SegmentJob("Hello.", (Speaker("own"),), "ja"))
    assert caught.value.reason == "ENGINE_CANNOT"


async def test_each_open_render_has_a_thread_to_wait_in() -> None:
    """None of the three can go on before all have been pulled."""
    async with _connected(_Engine(together=3)) as connection:
        job = SegmentJob("Hello.", (Speaker("own"),), "en")
        assert await asyncio.gather(*(_rate_hz(connection, job) for _ in range(3)))
