"""The embeddings of uploaded voices: from the store, or made by the engine and kept.

An embedding belongs to one engine and one model. The kept recording is the truth: when the model
changes, embeddings are made again.
"""

import asyncio
from collections.abc import Sequence

import numpy as np
import structlog
from numpy.typing import NDArray

from voice_store import (
    RECORDING_RATE_HZ,
    PreparedRecording,
    StorageFullError,
    StoredVoice,
    UnknownVoiceError,
    VoiceStore,
    VoiceStoreError,
)

from ..errors import EngineUnavailable, ServiceError
from ..fleet import Fleet, Supervisor
from .catalog import Voice

__all__ = ["Embeddings"]


class Embeddings:
    """Makes one embedding at a time, so that uploads and a new model don't crowd out speech.

    Args:
        engine_wait_s: how long to wait for an engine that is starting.
    """

    def __init__(self, store: VoiceStore, fleet: Fleet, *, engine_wait_s: float) -> None:
        self._store = store
        self._fleet = fleet
        self._engine_wait_s = engine_wait_s
        self._making = asyncio.Lock()

    async def get(self, voice: Voice, style: str) -> bytes:
        """Returns the embedding with which `voice.engine` speaks a style of an uploaded voice.

        Raises:
            EngineUnavailable, RenderFailed: it had to be made and could not.
            UnknownVoiceError: the voice was deleted meanwhile, even if its id was given to another
                one.
            ValueError: the voice came with an engine.
        """
        if voice.stored is None:
            raise ValueError(f"voice {voice.id!r} came with an engine")
        stored, engine, fingerprint = voice.stored, voice.engine, voice.model_fingerprint
        found = await self._load(stored, style, engine, fingerprint)
        if found is None:
            async with self._making:
                found = await self._load(stored, style, engine, fingerprint)
                found = found or await self._make_and_keep(stored, style, engine, fingerprint)
        # It was read by the voice's id, which somebody else may have by now.
        if self._store.get(stored.id) != stored:
            raise UnknownVoiceError(stored.id)
        return found

    async def make_for(
        self,
        engine: str,
        fingerprint: str,
        recordings: Sequence[PreparedRecording],
        language: str,
    ) -> dict[str, bytes]:
        """Makes embeddings of recordings that aren't stored yet, by style.

        Raises:
            EngineUnavailable, RenderFailed: the engine could not.
        """
        async with self._making:
            return {
                recording.style: await self._make(engine, fingerprint, recording.samples, language)
                for recording in recordings
            }

    async def make_missing(self, engine: Supervisor) -> None:
        """Makes what the engine's present model has no embeddings of yet.

        A voice that fails is logged and left for the first call that wants to speak with it.
        """
        if engine.description is None:
            return
        fingerprint = engine.description.model_fingerprint
        missing = await asyncio.to_thread(
            self._store.missing_embeddings, engine.engine, fingerprint
        )
        for voice, style in missing:
            try:
                async with self._making:
                    await self._make_and_keep(voice, style, engine.engine, fingerprint)
            except (ServiceError, VoiceStoreError) as error:
                structlog.get_logger().warning(
                    "no embedding made", voice=voice.id, style=style, error=type(error).__name__
                )
                if isinstance(error, EngineUnavailable):
                    return
        if missing:
            structlog.get_logger().info("embeddings made", count=len(missing))

    async def _load(
        self, voice: StoredVoice, style: str, engine: str, fingerprint: str
    ) -> bytes | None:
        return await asyncio.to_thread(self._store.embedding, voice.id, style, engine, fingerprint)

    async def _make_and_keep(
        self, voice: StoredVoice, style: str, engine: str, fingerprint: str
    ) -> bytes:
        samples = await asyncio.to_thread(self._store.samples, voice.id, style)
        made = await self._make(engine, fingerprint, samples, voice.language)
        try:
            await asyncio.to_thread(
                self._store.put_embedding, voice, style, engine, fingerprint, made
            )
        except (StorageFullError, OSError) as error:
            # It is as good as a kept one, and can be made again.
            structlog.get_logger().warning(
                "an embedding can't be kept", voice=voice.id, style=style, problem=str(error)
            )
        return made

    async def _make(
        self, engine: str, fingerprint: str, samples: NDArray[np.int16], language: str
    ) -> bytes:
        connection = await self._fleet.connection(engine, self._engine_wait_s)
        made = await connection.embed(samples, sample_rate_hz=RECORDING_RATE_HZ, language=language)
        if made.model_fingerprint != fingerprint:
            raise EngineUnavailable(
                engine,
                "came back with another model meanwhile",
                reason="WORKER_LOST",
                retry_after_ms=1000,
            )
        return made.embedding
