"""An embedding is kept under the model that made it."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from protos.engine.v1 import engine_pb2
from tts_service.errors import EngineUnavailable
from tts_service.voices import Embeddings
from voice_store import PreparedRecording, StorageFullError, UnknownVoiceError


class _Engine:
    """A fleet, and the connection to its one worker."""

    async def connection(self, _engine: str, _timeout_s: float) -> "_Engine":
        return self

    async def embed(self, _samples: Any, **_: Any) -> engine_pb2.EmbedResponse:
        return engine_pb2.EmbedResponse(embedding=b"voice", model_fingerprint="new")


async def test_one_by_another_model_is_not_taken() -> None:
    nothing: Any = None
    fleet: Any = _Engine()
    embeddings = Embeddings(nothing, fleet, engine_wait_s=1)
    recording = PreparedRecording("neutral", np.zeros(10, np.int16), nothing)
    made = await embeddings.make_for("e", "new", [recording], "en")
    assert made == {"neutral": b"voice"}
    with pytest.raises(EngineUnavailable, match="another model"):
        await embeddings.make_for("e", "old", [recording], "en")


class _Store:
    """A voice store with one voice, and without room for anything."""

    def __init__(self, voice: Any) -> None:
        self.voice = voice

    def get(self, voice_id: str) -> Any:
        assert voice_id == self.voice.id
        return self.voice

    def embedding(self, *_: Any) -> None:
        return None

    def samples(self, *_: Any) -> Any:
        return np.zeros(10, np.int16)

    def put_embedding(self, *_: Any) -> None:
        raise StorageFullError


def _voice(content: str) -> Any:
    """One that was uploaded, as a catalog has it."""
    stored = SimpleNamespace(id="anna", language="en", content_fingerprint=content)
    return SimpleNamespace(id="anna", engine="e", model_fingerprint="new", stored=stored)


async def test_one_that_cannot_be_kept_speaks_all_the_same() -> None:
    fleet: Any = _Engine()
    voice = _voice("a")
    store: Any = _Store(voice.stored)
    embeddings = Embeddings(store, fleet, engine_wait_s=1)
    assert await embeddings.get(voice, "neutral") == b"voice"


async def test_nobody_speaks_with_the_voice_that_has_the_id_by_now() -> None:
    fleet: Any = _Engine()
    store: Any = _Store(_voice("b").stored)
    embeddings = Embeddings(store, fleet, engine_wait_s=1)
    with pytest.raises(UnknownVoiceError):
        await embeddings.get(_voice("a"), "neutral")
