"""What a worker may send, and what counts as bad audio."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import numpy as np
import pytest

from protos.engine.v1 import engine_pb2, engine_pb2_grpc
from tts_service.errors import RenderFailed, ServiceError
from tts_service.fleet import Connection, SegmentJob, Speaker

_F32, _S16 = engine_pb2.SAMPLE_FORMAT_F32LE, engine_pb2.SAMPLE_FORMAT_S16LE
_TEXT = "Twelve signs"
_JOB = SegmentJob(_TEXT, (Speaker("own"),), "en")


class _Worker(engine_pb2_grpc.EngineServicer):
    """Answers every render with the same messages."""

    def __init__(self, messages: Sequence[engine_pb2.RenderResponse]) -> None:
        self.messages = messages

    async def Describe(self, request: Any, context: Any) -> engine_pb2.DescribeResponse:
        voice = engine_pb2.EngineVoice(id="own", languages=["en"], sample_rate_hz=22_050)
        return engine_pb2.DescribeResponse(voices=[voice], clone_sample_rate_hz=24_000)

    async def Render(self, request: Any, context: Any) -> AsyncIterator[engine_pb2.RenderResponse]:
        for message in self.messages:
            yield message


@asynccontextmanager
async def _connected(worker: _Worker) -> AsyncIterator[Connection]:
    server = grpc.aio.server()
    engine_pb2_grpc.add_EngineServicer_to_server(worker, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    connection = Connection("scripted", f"127.0.0.1:{port}")
    try:
        await connection.describe()
        yield connection
    finally:
        await connection.close()
        await server.stop(0)


async def _samples(connection: Connection, job: SegmentJob = _JOB) -> list[float]:
    async with connection.render(job, request_id="r") as stream:
        return [float(sample) async for audio in stream.audio for sample in audio.samples]


def _header(rate_hz: int = 22_050, **fields: Any) -> engine_pb2.RenderResponse:
    fields = {"sample_format": _F32, **fields}
    return engine_pb2.RenderResponse(
        header=engine_pb2.RenderHeader(sample_rate_hz=rate_hz, **fields)
    )


def _audio(*samples: float, data: bytes | None = None, **span: int) -> engine_pb2.RenderResponse:
    chunk = engine_pb2.PcmChunk(
        samples=np.array(samples, "<f4").tobytes() if data is None else data
    )
    if span:
        chunk.span.CopyFrom(engine_pb2.TextSpan(**span))
    return engine_pb2.RenderResponse(audio=chunk)


_GOOD = {
    "nothing to say": ([_header()], []),
    "some": (
        [_header(sample_count=3), _audio(0.5, -0.5), _audio(), _audio(1.5)],
        [0.5, -0.5, 1.5],
    ),
    "16 bits": (
        [_header(sample_format=_S16), _audio(data=b"\xff\x7f\x00\x80\x00\x40")],
        [32767 / 32768, -1.0, 0.5],
    ),
    "the last character": (
        [_header(), _audio(0.25, start_character=12, end_character=12)],
        [0.25],
    ),
}
_BAD = {
    "no header": [],
    "no header before": [_audio(0.5), _header()],
    "two headers": [_header(), _header(), _audio(0.5)],
    "an empty message": [_header(), engine_pb2.RenderResponse()],
    "no rate": [_header(0)],
    "another rate": [_header(24_000), _audio(0.5)],
    "no format": [_header(sample_format=0), _audio(0.5)],
    "half a sample": [_header(), _audio(data=b"\0" * 6)],
    "half a sample of 16 bits": [_header(sample_format=_S16), _audio(data=b"\0" * 3)],
    "not a number": [_header(), _audio(0.5), _audio(*[0.1] * 5000, float("nan"), 0.1)],
    "infinite": [_header(), _audio(0.1, float("inf"))],
    "less than infinite": [_header(), _audio(float("-inf"))],
    "too loud": [_header(), _audio(0.1, 50.0)],
    "too loud below": [_header(), _audio(0.1, -50.0)],
    "too few": [_header(sample_count=3), _audio(0.1)],
    "too many": [_header(sample_count=3), _audio(0.1, 0.1), _audio(0.1, 0.1)],
    "a span behind the text": [_header(), _audio(0.1, start_character=3, end_character=13)],
    "a span before the text": [_header(), _audio(0.1, start_character=-1, end_character=3)],
    "a span back to front": [_header(), _audio(0.1, start_character=5, end_character=3)],
}


@pytest.mark.parametrize(("messages", "samples"), _GOOD.values(), ids=_GOOD)
async def test_sound(
    messages: Sequence[engine_pb2.RenderResponse], samples: Sequence[float]
) -> None:
    async with _connected(_Worker(messages)) as connection:
        for _ in range(4):
            assert await _samples(connection) == samples
    assert connection.record.has_spoken_well
    assert not connection.record.is_spoiled.is_set()


@pytest.mark.parametrize("messages", _BAD.values(), ids=_BAD)
async def test_no_sound(messages: Sequence[engine_pb2.RenderResponse]) -> None:
    async with _connected(_Worker(messages)) as connection:
        for _ in range(3):
            assert not connection.record.is_spoiled.is_set()
            with pytest.raises(RenderFailed, match=r"^engine 'scripted' answered with what is no"):
                await _samples(connection)
        assert connection.record.is_spoiled.is_set()
        assert not connection.record.has_spoken_well
        await connection.record.idle()
        assert connection.record.waiting == 0


async def test_a_good_render_between_bad_ones_excuses_them() -> None:
    worker = _Worker(())
    async with _connected(worker) as connection:
        for name in ("infinite", "too few") * 5:
            worker.messages = _BAD[name]
            with pytest.raises(RenderFailed):
                await _samples(connection)
            worker.messages, _ = _GOOD["some"]
            assert await _samples(connection) == [0.5, -0.5, 1.5]
        assert not connection.record.is_spoiled.is_set()


async def test_clones_and_mixes_have_the_rate_that_was_said_for_them() -> None:
    worker = _Worker([_header(24_000), _audio(0.5)])
    clone = SegmentJob(_TEXT, (Speaker("", b"anna"),), "en")
    mix = SegmentJob(_TEXT, (Speaker("own"), Speaker("", b"anna")), "en")
    async with _connected(worker) as connection:
        assert await _samples(connection, clone) == await _samples(connection, mix) == [0.5]
        worker.messages = [_header(22_050), _audio(0.5)]
        for job in (clone, mix):
            with pytest.raises(RenderFailed):
                await _samples(connection, job)


@pytest.mark.parametrize(
    ("details", "reason"), [("Stream removed", "WORKER_LOST"), ("Unexpected", "RENDER_FAILED")]
)
async def test_a_stream_that_grpc_removed_was_lost(details: str, reason: str) -> None:
    class Torn(_Worker):
        async def Render(
            self, request: Any, context: Any
        ) -> AsyncIterator[engine_pb2.RenderResponse]:
            yield _header()
            await context.abort(grpc.StatusCode.UNKNOWN, details)

    async with _connected(Torn(())) as connection:
        with pytest.raises(ServiceError) as caught:
            await _samples(connection)
    assert caught.value.reason == reason
