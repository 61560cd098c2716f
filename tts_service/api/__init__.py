"""The public gRPC face: proto to domain and back, and nothing else."""

from .boundary import CallBoundary
from .servicer import TextToSpeechServicer

__all__ = ["CallBoundary", "TextToSpeechServicer"]
