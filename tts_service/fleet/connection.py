"""A channel to one worker: `engine.v1` to domain, and its statuses to our errors."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
import numpy as np
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from numpy.typing import NDArray

from protos.engine.v1 import engine_pb2, engine_pb2_grpc

from ..errors import DeadlinePassed, EngineUnavailable, NotPossible, Overloaded, RenderFailed
from ..ops.tracing import Span, current_span
from ..pcm import decode_samples
from .segment_job import SegmentJob

__all__ = ["Connection", "RenderStream", "SegmentAudio"]

_WARM_POLL_S = 0.02
_EMBED_TIMEOUT_S = 120.0
_EMBED_PIECE_BYTES = 1 << 18
# Spread, so that those who were refused together don't come back together.
_BUSY_RETRY_MS = (500, 1500)

_CHANNEL_OPTIONS = (
    # A worker that is starting is tried again soon, not after a second and more.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
    # The default is one subchannel pool for the process: a new worker must not inherit the
    # backoff of a dead one.
    ("grpc.use_local_subchannel_pool", 1),
    # A worker's address goes to that worker, whatever proxy the environment names.
    ("grpc.enable_http_proxy", 0),
)


@dataclass(frozen=True, slots=True)
class SegmentAudio:
    """A run of mono samples and the span of the segment that they speak.

    Attributes:
        samples: shape (n,), float32, full scale 1.0.
        start_character: first code point of the span in the segment's text.
        end_character: one past the last.
    """

    samples: NDArray[np.float32]
    start_character: int
    end_character: int


@dataclass(frozen=True, slots=True)
class RenderStream:
    """A render whose header has arrived.

    Attributes:
        sample_count: samples of the whole segment, where the engine knew it.
        audio: the samples, to be read once.
    """

    sample_rate_hz: int
    sample_count: int | None
    audio: AsyncIterator[SegmentAudio]


class Connection:
    """Speaks to one worker. Close it when the worker is gone."""

    def __init__(self, engine: str, address: str) -> None:
        self._engine = engine
        self._channel = grpc.aio.insecure_channel(address, options=_CHANNEL_OPTIONS)
        self._stub: engine_pb2_grpc.EngineAsyncStub = engine_pb2_grpc.EngineStub(self._channel)
        self._health: Any = health_pb2_grpc.HealthStub(self._channel)

    async def wait_until_warm(self) -> None:
        """Waits until the worker's health is SERVING, however long that takes."""
        request = health_pb2.HealthCheckRequest(service="engine.v1.Engine")
        while True:
            with suppress(grpc.aio.AioRpcError):  # its socket appears a moment after its process
                response = await self._health.Check(request)
                if response.status == health_pb2.HealthCheckResponse.SERVING:
                    return
            await asyncio.sleep(_WARM_POLL_S)

    async def answers(self, timeout_s: float) -> bool:
        """Whether the worker answers a health check within `timeout_s`."""
        try:
            await self._health.Check(health_pb2.HealthCheckRequest(), timeout=timeout_s)
        except grpc.aio.AioRpcError:
            return False
        return True

    async def describe(self) -> engine_pb2.DescribeResponse:
        """Returns the engine's description.

        Raises:
            EngineUnavailable: the worker is gone.
        """
        with self._translated_errors():
            return await self._stub.Describe(engine_pb2.DescribeRequest())

    @asynccontextmanager
    async def render(self, job: SegmentJob, *, request_id: str) -> AsyncIterator[RenderStream]:
        """Renders a segment while the context is open; entered when its header has come.

        Raises, here and from the stream's `audio`:
            EngineUnavailable: the worker ended or can't be reached.
            Overloaded: the engine has as many renders open as it takes.
            NotPossible: this installation of the engine can't do it.
            RenderFailed: the engine failed on this text.
        """
        with self._translated_errors(), self._span("Render") as span:
            span.note(characters=len(job.text), is_ahead=job.look_ahead)
            metadata = (("x-request-id", request_id), *span.headers)
            call = self._stub.Render(job.to_proto(), metadata=metadata)
            try:
                responses = aiter(call)
                header = (await anext(responses, engine_pb2.RenderResponse())).header
                if header.sample_rate_hz <= 0:
                    raise self._broken("no usable header")
                span.event("first audio")
                known = header.sample_count if header.HasField("sample_count") else None
                audio = self._audio(responses, header.sample_format, len(job.text))
                yield RenderStream(header.sample_rate_hz, known, audio)
            finally:
                call.cancel()

    async def embed(
        self, samples: NDArray[np.int16], *, sample_rate_hz: int, language: str
    ) -> bytes:
        """Has the engine make an embedding of a recording, of shape (n,).

        Raises:
            EngineUnavailable: the worker ended or can't be reached.
            RenderFailed: the engine failed on this recording.
        """
        with self._translated_errors(), self._span("Embed") as span:
            span.note(samples=len(samples))
            response = await self._stub.Embed(
                _embed_requests(samples, sample_rate_hz, language),
                timeout=_EMBED_TIMEOUT_S,
                metadata=(*_request_id(), *span.headers),
            )
        return response.embedding

    async def close(self) -> None:
        """Closes the channel. Calls in progress end with their worker, not with this."""
        await self._channel.close()

    async def _audio(
        self,
        responses: AsyncIterator[engine_pb2.RenderResponse],
        sample_format: engine_pb2.SampleFormat.ValueType,
        characters: int,
    ) -> AsyncIterator[SegmentAudio]:
        async for response in responses:
            chunk = response.audio
            try:
                samples = decode_samples(chunk.samples, sample_format)
            except ValueError as error:
                raise self._broken(str(error)) from error
            start, end = (
                (chunk.span.start_character, chunk.span.end_character)
                if chunk.HasField("span")
                else (0, characters)
            )
            yield SegmentAudio(samples, start, end)

    def _span(self, method: str) -> Span:
        """The span of a call of the worker."""
        span = current_span().call(f"/engine.v1.Engine/{method}")
        span.note(engine=self._engine)
        return span

    def _broken(self, what: str) -> RenderFailed:
        structlog.get_logger().error("worker broke the contract", engine=self._engine, what=what)
        return RenderFailed(self._engine)

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        """Raises our errors in place of gRPC's."""
        try:
            yield
        except grpc.aio.AioRpcError as error:
            raise self._translate(error) from error
        except asyncio.CancelledError:
            # grpc.aio raises this for a call whose channel was closed, too.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise self._lost() from None

    def _translate(self, error: grpc.aio.AioRpcError) -> Exception:
        match error.code():
            case grpc.StatusCode.DEADLINE_EXCEEDED:
                return DeadlinePassed()
            case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.CANCELLED:
                return self._lost()
            case grpc.StatusCode.RESOURCE_EXHAUSTED:
                return Overloaded(
                    f"engine {self._engine!r} has as many calls as it takes",
                    reason="ENGINE_BUSY",
                    retry_after_ms=random.randint(*_BUSY_RETRY_MS),
                )
            case grpc.StatusCode.FAILED_PRECONDITION:
                return NotPossible(error.details() or "", reason="ENGINE_CANNOT")
            case code:
                structlog.get_logger().error(
                    "engine failed", engine=self._engine, code=code.name, details=error.details()
                )
                return RenderFailed(self._engine)

    def _lost(self) -> EngineUnavailable:
        return EngineUnavailable(
            self._engine,
            "lost its worker while it was speaking",
            reason="WORKER_LOST",
            retry_after_ms=1000,
        )


def _request_id() -> tuple[tuple[str, str], ...]:
    """Metadata that says for which request this is, if it is for one."""
    request_id = structlog.contextvars.get_contextvars().get("request_id")
    return (("x-request-id", str(request_id)),) if request_id else ()


def _embed_requests(
    samples: NDArray[np.int16], sample_rate_hz: int, language: str
) -> Iterator[engine_pb2.EmbedRequest]:
    header = engine_pb2.EmbedHeader(
        sample_rate_hz=sample_rate_hz,
        sample_format=engine_pb2.SAMPLE_FORMAT_S16LE,
        language=language,
    )
    yield engine_pb2.EmbedRequest(header=header)
    data = samples.astype("<i2").tobytes()
    for start in range(0, len(data), _EMBED_PIECE_BYTES):
        yield engine_pb2.EmbedRequest(samples=data[start : start + _EMBED_PIECE_BYTES])
