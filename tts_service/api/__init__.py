"""The public gRPC face: proto to domain and back, and nothing else."""

from .boundary import CallBoundary
from .connections import server_options
from .open_calls import OpenCalls
from .servicer import TextToSpeechServicer

__all__ = ["CallBoundary", "OpenCalls", "TextToSpeechServicer", "server_options"]
