"""Voices for tests of the store."""

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from voice_store import (
    RECORDING_RATE_HZ,
    Consent,
    PreparedRecording,
    QualityWarning,
    StoredVoice,
    StyleQuality,
    VoiceStore,
)

CONSENT = Consent(
    person="Zoë Doe",
    statement="My voice may read the news.",
    consent_time=datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC),
    attested_by="studio@example.org",
)


def sound(seed: int, ms: int = 200) -> NDArray[np.int16]:
    """Noise that is another one for each seed."""
    count = RECORDING_RATE_HZ * ms // 1000
    return np.random.default_rng(seed).integers(-9000, 9000, count).astype(np.int16)


def quality(style: str) -> StyleQuality:
    """Some report."""
    return StyleQuality(
        style=style,
        recording_count=1,
        duration_ms=12_000,
        speech_ms=9_000,
        kept_ms=10_000,
        loudness_before_lufs=-31.25,
        loudness_after_lufs=-20.0,
        true_peak_dbtp=-1.5,
        clipped_share=0.0,
        signal_to_noise_db=None,
        bandwidth_hz=11_000,
        warnings=(QualityWarning("BACKGROUND_NOISE", "Record in a quieter room."),),
    )


def recording(style: str = "neutral", seed: int = 0, ms: int = 200) -> PreparedRecording:
    """The recording of one style."""
    return PreparedRecording(style, sound(seed, ms), quality(style))


def embedding(seed: int = 0) -> bytes:
    """What an engine may have made."""
    return save({"speaker": np.random.default_rng(seed).normal(size=64).astype(np.float32)})


def add_voice(
    store: VoiceStore,
    voice_id: str | None,
    *recordings: PreparedRecording,
    display_name: str = "Zoë",
    request_id: str = "",
    embeddings: dict[str, bytes] | None = None,
) -> tuple[StoredVoice, bool]:
    """Stores a voice, with the embeddings of the model `1` of the engine `tone`, by style."""
    with store.begin(
        voice_id=voice_id,
        display_name=display_name,
        language="en",
        recordings=recordings or (recording(),),
        consent=CONSENT,
        request_id=request_id,
    ) as draft:
        for style, data in (embeddings or {}).items():
            draft.put_embedding(style, "tone", "1", data)
        return draft.commit()


def audited(root: Path) -> list[tuple[str, str]]:
    """What the audit log tells: action and id. What is deleted must be what was created."""
    lines = (root / "audit.jsonl").read_text().splitlines()
    # A kill in the midst of a write tears a line. Its event is written anew behind it.
    events = [json.loads(line) for line in lines if line.endswith("}")]
    content: dict[str, str] = {}
    for event in events:
        voice_id, fingerprint = event["voice_id"], event["content_fingerprint"]
        assert content.setdefault(voice_id, fingerprint) == fingerprint
        if event["action"] == "deleted":
            del content[voice_id]
    return [(event["action"], event["voice_id"]) for event in events]


def files_in(folder: Path) -> list[str]:
    """All that is in a folder, with relative paths."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
