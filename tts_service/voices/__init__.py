"""The voices there are: those that came with engines, and those that were uploaded."""

from .catalog import Catalog, Voice
from .directory import VoiceDirectory
from .embeddings import Embeddings
from .metadata import ConsentClaim, VoiceMetadata
from .traits import EngineTraits
from .upload import RecordingStart, UploadPart, VoiceUploads

__all__ = [
    "Catalog",
    "ConsentClaim",
    "Embeddings",
    "EngineTraits",
    "RecordingStart",
    "UploadPart",
    "Voice",
    "VoiceDirectory",
    "VoiceMetadata",
    "VoiceUploads",
]
