"""The front's side of the workers: start them, watch them, know their voices, speak to them."""

from .catalog import Catalog, Voice
from .connection import Connection, RenderStream, SegmentAudio
from .fleet import Fleet
from .supervisor import EngineState, Supervisor, WorkerMisconfiguredError
from .worker_process import WorkerCommand

__all__ = [
    "Catalog",
    "Connection",
    "EngineState",
    "Fleet",
    "RenderStream",
    "SegmentAudio",
    "Supervisor",
    "Voice",
    "WorkerCommand",
    "WorkerMisconfiguredError",
]
