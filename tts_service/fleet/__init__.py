"""The front's side of the workers: start them, watch them, speak to them."""

from .connection import Connection, RenderStream, SegmentAudio
from .fleet import Fleet
from .supervisor import EngineState, Supervisor, WorkerMisconfiguredError
from .worker_process import WorkerCommand

__all__ = [
    "Connection",
    "EngineState",
    "Fleet",
    "RenderStream",
    "SegmentAudio",
    "Supervisor",
    "WorkerCommand",
    "WorkerMisconfiguredError",
]
