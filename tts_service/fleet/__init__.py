"""The front's side of the workers: start them, watch them, speak to them."""

from .connection import Connection
from .fleet import Fleet
from .loss import LostReason
from .received_render import RenderStream, SegmentAudio
from .segment_job import SegmentJob, Speaker
from .supervisor import EngineState, Supervisor, WorkerMisconfiguredError
from .worker_limits import WorkerLimits
from .worker_process import WorkerCommand

__all__ = [
    "Connection",
    "EngineState",
    "Fleet",
    "LostReason",
    "RenderStream",
    "SegmentAudio",
    "SegmentJob",
    "Speaker",
    "Supervisor",
    "WorkerCommand",
    "WorkerLimits",
    "WorkerMisconfiguredError",
]
