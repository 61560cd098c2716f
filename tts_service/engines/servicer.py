"""`engine.v1.Engine` on top of an `Engine`: proto to domain, and threads to asyncio.

A render is pulled, one chunk at a time, on as many threads as the engine renders at once, and as
many again for renders that give way, or, if the engine lets renders wait for their turn, as it has
open at once. So nothing is computed that nobody reads, callers of a busy engine take turns chunk by
chunk, and there is no queue to bound.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc.aio
import structlog

from protos.engine.v1 import engine_pb2, engine_pb2_grpc

from ..ops.tracing import NO_TRACER, Tracer
from ..pcm import decode_samples
from ..sampling import Sampling
from .base import (
    Ability,
    CloningEngine,
    EmbeddingError,
    Engine,
    EngineBusyError,
    EngineDescription,
    NotPossibleError,
    PcmChunk,
    Render,
    RenderJob,
    UnknownVoiceError,
    VoiceShare,
)
from .call import EngineCall
from .listener import Listener
from .turns import Turns

__all__ = ["EngineServicer"]

# 340 ms at 24 kHz: small enough to cut the wait for the first of them, large enough that
# messages cost nothing beside the model.
_MESSAGE_SAMPLES = 8192

# Two minutes at 48 kHz in float32: more than any voice needs.
_MAX_EMBED_BYTES = 2 * 60 * 48_000 * 4

_ABILITIES = {
    Ability.SPEED: engine_pb2.ABILITY_SPEED,
    Ability.CLONE: engine_pb2.ABILITY_CLONE,
    Ability.SAMPLING: engine_pb2.ABILITY_SAMPLING,
    Ability.MIX: engine_pb2.ABILITY_MIX,
}

_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class EngineServicer(engine_pb2_grpc.EngineServicer):
    """Answers UNAVAILABLE until an engine is attached.

    Args:
        tracer: begins the spans of renders and embeddings.
    """

    def __init__(self, tracer: Tracer = NO_TRACER) -> None:
        self._tracer = tracer
        self._engine: Engine | None = None
        self._turns: Turns | None = None
        self._log = structlog.get_logger()

    def attach(self, engine: Engine) -> None:
        """Begins to serve `engine`, which is loaded and warm."""
        description = engine.describe()
        renders = description.max_open_renders or description.max_concurrent_renders
        # Open renders that share a batch wait in their threads, and none is in another's way.
        give_way = 0 if description.max_open_renders else renders
        self._turns = Turns(renders, give_way_threads=give_way, thread_name_prefix="render")
        self._engine = engine

    async def close(self) -> None:
        """Waits for the render threads and frees the engine. No call is in progress."""
        if self._turns is not None:
            await asyncio.to_thread(self._turns.shutdown)
        if self._engine is not None:
            await asyncio.to_thread(self._engine.close)
            self._engine = None

    async def Describe(
        self, request: engine_pb2.DescribeRequest, context: _Context
    ) -> engine_pb2.DescribeResponse:
        """See the contract."""
        engine, _ = await self._ready(context)
        description = engine.describe()
        return engine_pb2.DescribeResponse(
            name=description.name,
            voices=[
                engine_pb2.EngineVoice(
                    id=voice.id,
                    display_name=voice.display_name,
                    languages=voice.languages,
                    sample_rate_hz=voice.sample_rate_hz,
                    model_fingerprint=voice.model_fingerprint,
                )
                for voice in description.voices
            ],
            model_fingerprint=description.model_fingerprint,
            max_segment_characters=description.max_segment_characters,
            max_concurrent_renders=description.max_concurrent_renders,
            abilities=[_ABILITIES[ability] for ability in sorted(description.abilities)],
            clone_languages=description.clone_languages,
            clone_sample_rate_hz=description.clone_sample_rate_hz,
            segment_characters_by_language=description.segment_characters_by_language,
            max_open_renders=description.max_open_renders,
            opening_characters=description.opening_characters,
        )

    async def Render(
        self, request: engine_pb2.RenderRequest, context: _Context
    ) -> AsyncIterator[engine_pb2.RenderResponse]:
        """See the contract."""
        with EngineCall(self._tracer, "Render", context) as call:
            async with aclosing(self._render(request, context, call)) as responses:
                async for response in responses:
                    yield response

    async def _render(
        self, request: engine_pb2.RenderRequest, context: _Context, call: EngineCall
    ) -> AsyncGenerator[engine_pb2.RenderResponse]:
        engine, turns = await self._ready(context)
        description = engine.describe()
        job = _job(request)
        call.span.note(engine=description.name, characters=len(job.text))
        try:
            render = engine.render(job)
        except UnknownVoiceError:
            await context.abort(grpc.StatusCode.NOT_FOUND, "the engine has no such voice")
        except EmbeddingError:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, "the embedding is not this model's"
            )
        except EngineBusyError:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "the engine is busy")
        except NotPossibleError as error:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        try:
            rate_hz = _sample_rate_hz(description, job)
            sample_count = 0
            chunk = await _next_chunk(turns, job.listener, render)
            header = engine_pb2.RenderHeader(
                sample_rate_hz=rate_hz,
                sample_format=engine_pb2.SAMPLE_FORMAT_F32LE,
                sample_count=0 if chunk is None else render.sample_count,
            )
            yield engine_pb2.RenderResponse(header=header)
            while chunk is not None:
                sample_count += len(chunk.samples)
                job.listener.gets(len(chunk.samples) / rate_hz)
                for message in _messages(chunk):
                    with job.listener.takes(_MESSAGE_SAMPLES / rate_hz):
                        yield message
                chunk = await _next_chunk(turns, job.listener, render)
            call.span.note(samples=sample_count)
        except Exception:
            if context.cancelled():
                raise
            self._log.exception("render failed", voice=job.voice, characters=len(job.text))
            await context.abort(grpc.StatusCode.INTERNAL, "the engine failed")
        finally:
            render.cancel()

    async def Embed(
        self, requests: AsyncIterator[engine_pb2.EmbedRequest], context: _Context
    ) -> engine_pb2.EmbedResponse:
        """See the contract."""
        with EngineCall(self._tracer, "Embed", context) as call:
            return await self._embed(requests, context, call)

    async def _embed(
        self, requests: AsyncIterator[engine_pb2.EmbedRequest], context: _Context, call: EngineCall
    ) -> engine_pb2.EmbedResponse:
        engine, turns = await self._ready(context)
        if not isinstance(engine, CloningEngine):
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "the engine does not clone")
        header = (await anext(requests, engine_pb2.EmbedRequest())).header
        data = bytearray()
        async for request in requests:
            data += request.samples
            if len(data) > _MAX_EMBED_BYTES:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the recording is too long")
        try:
            samples = decode_samples(bytes(data), header.sample_format)
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        if len(samples) == 0 or header.sample_rate_hz <= 0:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "there are no samples or no rate")
        call.span.note(engine=engine.describe().name, samples=len(samples))
        future = turns.submit(
            Listener(), engine.embed, samples, header.sample_rate_hz, header.language
        )
        return engine_pb2.EmbedResponse(
            embedding=await asyncio.wrap_future(future),
            model_fingerprint=engine.describe().model_fingerprint,
        )

    async def _ready(self, context: _Context) -> tuple[Engine, Turns]:
        if self._engine is not None and self._turns is not None:
            return self._engine, self._turns
        await context.abort(grpc.StatusCode.UNAVAILABLE, "the engine is still loading")


def _job(request: engine_pb2.RenderRequest) -> RenderJob:
    return RenderJob(
        text=request.text,
        voice=request.voice,
        language=request.language,
        speed=request.speed or 1.0,
        embedding=request.embedding,
        mix=tuple(VoiceShare(part.voice, part.embedding, part.weight) for part in request.mix),
        sampling=Sampling(**{field.name: value for field, value in request.sampling.ListFields()}),
        look_ahead=request.look_ahead,
        listener=Listener(request.lead_ms, request.ahead_ms),
    )


def _sample_rate_hz(description: EngineDescription, job: RenderJob) -> int:
    if job.embedding or job.mix:
        return description.clone_sample_rate_hz
    rates_hz = {voice.id: voice.sample_rate_hz for voice in description.voices}
    return rates_hz[job.voice]


async def _next_chunk(turns: Turns, listener: Listener, render: Render) -> PcmChunk | None:
    """Pulls one chunk when it is its turn; None at the end."""
    # A cancelled wait gives up a turn that has not come; one that has goes on in its thread until
    # `render.cancel` ends it.
    return await asyncio.wrap_future(turns.submit(listener, next, render, None))


def _messages(chunk: PcmChunk) -> list[engine_pb2.RenderResponse]:
    span = engine_pb2.TextSpan(
        start_character=chunk.start_character, end_character=chunk.end_character
    )
    pieces = (
        chunk.samples[start : start + _MESSAGE_SAMPLES]
        for start in range(0, len(chunk.samples), _MESSAGE_SAMPLES)
    )
    return [
        engine_pb2.RenderResponse(
            audio=engine_pb2.PcmChunk(samples=piece.astype("<f4").tobytes(), span=span)
        )
        for piece in pieces
    ]
