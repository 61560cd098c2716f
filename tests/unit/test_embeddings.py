"""An embedding is kept under the model that made it."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from protos.engine.v1 import engine_pb2
from tts_service.errors import EngineUnavailable
from tts_service.voices import Embeddings
from voice_store import PreparedRecording, StorageFullError


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


class _FullStore:
    """A voice store without room for anything."""

    def embedding(self, *_: Any) -> None:
        return None

    def samples(self, *_: Any) -> Any:
        return np.zeros(10, np.int16)

    def put_embedding(self, *_: Any) -> None:
        raise StorageFullError


async def test_one_that_cannot_be_kept_speaks_all_the_same() -> None:
    fleet: Any = _Engine()
    store: Any = _FullStore()
    embeddings = Embeddings(store, fleet, engine_wait_s=1)
    voice: Any = SimpleNamespace(
        id="anna",
        engine="e",
        model_fingerprint="new",
        stored=SimpleNamespace(id="anna", language="en"),
    )
    assert await embeddings.get(voice, "neutral") == b"voice"
