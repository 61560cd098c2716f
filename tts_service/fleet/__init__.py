"""The front's side of the workers: start them, watch them, speak to them."""

from .connection import Connection, RenderStream, SegmentAudio
from .fleet import Fleet
from .segment_job import SegmentJob, Speaker
from .supervisor import EngineState, Supervisor, WorkerMisconfiguredError
from .worker_process import WorkerCommand

__all__ = [
    "Connection",
    "EngineState",
    "Fleet",
    "RenderStream",
    "SegmentAudio",
    "SegmentJob",
    "Speaker",
    "Supervisor",
    "WorkerCommand",
    "WorkerMisconfiguredError",
]
