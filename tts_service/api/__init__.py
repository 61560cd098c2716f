"""The public gRPC face: proto to domain and back, and nothing else."""

from .boundary import CallBoundary
from .connections import server_options
from .grpc_server import make_grpc_server
from .health import Health
from .open_calls import OpenCalls
from .servicer import TextToSpeechServicer

__all__ = [
    "CallBoundary",
    "Health",
    "OpenCalls",
    "TextToSpeechServicer",
    "make_grpc_server",
    "server_options",
]
