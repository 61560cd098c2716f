"""A channel to one worker: `engine.v1` to domain, and its statuses to our errors."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from types import MappingProxyType
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
from .loss import LostReason
from .received_render import BadAudioError, ReceivedRender, RenderStream
from .segment_job import SegmentJob
from .suspects import Suspects
from .worker_record import WorkerRecord

__all__ = ["Connection"]

_WARM_POLL_S = 0.02
_EMBED_TIMEOUT_S = 120.0
_EMBED_PIECE_BYTES = 1 << 18
_STREAM_REMOVED = "Stream removed"
# Spread, so that those who were refused together don't come back together.
_BUSY_RETRY_MS = (500, 1500)
# What callers are told of a worker that was ended.
_PROBLEMS = MappingProxyType(
    {
        LostReason.SILENT: "; it hung",
        LostReason.STUCK: "; it hung",
        LostReason.MEMORY: "; it had grown too large",
        LostReason.BAD_AUDIO: "; what it answered was no sound",
    }
)

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


class Connection:
    """Speaks to one worker. Close it when the worker is gone.

    Args:
        suspects: the engine's, which outlive its workers.

    Attributes:
        record: what is noticed of the worker.
        lost_reason: why it was ended, set by whoever ends it, for its callers.
    """

    def __init__(self, engine: str, address: str, suspects: Suspects | None = None) -> None:
        self.record = WorkerRecord()
        self.lost_reason: LostReason | None = None
        self._engine = engine
        self._suspects = suspects or Suspects()
        self._suspected: set[str] = set()
        self._is_closed = False
        self._description: engine_pb2.DescribeResponse | None = None
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
            self._description = await self._stub.Describe(engine_pb2.DescribeRequest())
        return self._description

    @asynccontextmanager
    async def render(self, job: SegmentJob, *, request_id: str) -> AsyncIterator[RenderStream]:
        """Renders a segment while the context is open; entered when its header has come.

        Raises, here and from the stream's `audio`:
            EngineUnavailable: the worker ended or can't be reached.
            Overloaded: the engine has as many renders open as it takes.
            NotPossible: this installation of the engine can't do it, or workers end on it.
            RenderFailed: the engine failed on this text, or what it answered is no sound.
        """
        self._suspects.check(self._engine, job.text)
        self._check_open()
        try:
            with self._translated_errors(), self._span("Render") as span:
                span.note(characters=len(job.text), is_ahead=job.look_ahead)
                metadata = (("x-request-id", request_id), *span.headers)
                call = self._stub.Render(job.to_proto(), metadata=metadata)
                received = ReceivedRender(
                    aiter(call),
                    characters=len(job.text),
                    sample_rate_hz=self._sample_rate_hz(job),
                    record=self.record,
                )
                try:
                    with self.record.open_call():
                        stream = await received.begin()
                        span.event("first audio")
                        yield stream
                finally:
                    call.cancel()
            self._suspects.spoken(job.text)
        except EngineUnavailable:
            # Once for a worker, by however many calls it was being spoken.
            if job.text not in self._suspected:
                self._suspected.add(job.text)
                self._suspects.lost_worker(job.text)
            raise

    async def embed(
        self, samples: NDArray[np.int16], *, sample_rate_hz: int, language: str
    ) -> engine_pb2.EmbedResponse:
        """Has the engine make an embedding of a recording, of shape (n,).

        Raises:
            EngineUnavailable: the worker ended or can't be reached.
            RenderFailed: the engine failed on this recording.
        """
        self._check_open()
        with (
            self.record.open_call(),
            self.record.waits(),
            self._translated_errors(),
            self._span("Embed") as span,
        ):
            span.note(samples=len(samples))
            return await self._stub.Embed(
                _embed_requests(samples, sample_rate_hz, language),
                timeout=_EMBED_TIMEOUT_S,
                metadata=(*_request_id(), *span.headers),
            )

    async def close(self) -> None:
        """Closes the channel. The worker is lost to calls that are in progress."""
        self._is_closed = True
        await self._channel.close()

    def _check_open(self) -> None:
        # gRPC has an error of its own for a closed channel, which is none of a call's.
        if self._is_closed:
            raise self._lost()

    def _sample_rate_hz(self, job: SegmentJob) -> int | None:
        """What the worker said the rate of such a render would be."""
        if self._description is None:
            return None
        speaker = job.speakers[0]
        if len(job.speakers) > 1 or speaker.embedding:
            return self._description.clone_sample_rate_hz
        rates_hz = {voice.id: voice.sample_rate_hz for voice in self._description.voices}
        return rates_hz.get(speaker.voice)

    def _span(self, method: str) -> Span:
        """The span of a call of the worker."""
        span = current_span().call(f"/engine.v1.Engine/{method}")
        span.note(engine=self._engine)
        return span

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        """Raises our errors in place of gRPC's."""
        try:
            yield
        except grpc.aio.AioRpcError as error:
            raise self._translate(error) from error
        except BadAudioError as error:
            self.record.spoke_badly()
            structlog.get_logger().error("bad audio", engine=self._engine, what=str(error))
            raise RenderFailed(self._engine, "answered with what is no sound") from error
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
            # What gRPC now and then makes of a connection that broke, where it should say
            # UNAVAILABLE (grpc/grpc#34076). A worker's own errors are INTERNAL.
            case grpc.StatusCode.UNKNOWN if error.details() == _STREAM_REMOVED:
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
        problem = "" if self.lost_reason is None else _PROBLEMS.get(self.lost_reason, "")
        return EngineUnavailable(
            self._engine,
            f"lost its worker while it was speaking{problem}",
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
