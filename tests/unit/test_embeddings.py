"""An embedding is kept under the model that made it."""

from typing import Any

import numpy as np
import pytest

from protos.engine.v1 import engine_pb2
from tts_service.errors import EngineUnavailable
from tts_service.voices import Embeddings
from voice_store import PreparedRecording


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
