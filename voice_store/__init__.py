"""Keeps voices on disk. Nothing here knows of the network or of the service."""

from .check import check_store
from .draft import VoiceDraft
from .errors import (
    DamagedVoiceError,
    InvalidEmbeddingError,
    InvalidRecordError,
    NewerSchemaError,
    RecordingRejectedError,
    RejectionReason,
    StorageFullError,
    StoreNotFoundError,
    StyleNameError,
    UnknownVoiceError,
    VoiceExistsError,
    VoiceIdError,
    VoiceStoreError,
)
from .ids import DEFAULT_STYLE, new_voice_id, parse_style, parse_voice_id
from .records import (
    RECORDING_RATE_HZ,
    Consent,
    Finding,
    PreparedRecording,
    QualityWarning,
    StoredVoice,
    StyleQuality,
)
from .store import VoiceStore

__all__ = [
    "DEFAULT_STYLE",
    "RECORDING_RATE_HZ",
    "Consent",
    "DamagedVoiceError",
    "Finding",
    "InvalidEmbeddingError",
    "InvalidRecordError",
    "NewerSchemaError",
    "PreparedRecording",
    "QualityWarning",
    "RecordingRejectedError",
    "RejectionReason",
    "StorageFullError",
    "StoreNotFoundError",
    "StoredVoice",
    "StyleNameError",
    "StyleQuality",
    "UnknownVoiceError",
    "VoiceDraft",
    "VoiceExistsError",
    "VoiceIdError",
    "VoiceStore",
    "VoiceStoreError",
    "check_store",
    "new_voice_id",
    "parse_style",
    "parse_voice_id",
]
