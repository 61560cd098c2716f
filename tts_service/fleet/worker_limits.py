"""What a worker is allowed."""

from dataclasses import dataclass

__all__ = ["WorkerLimits"]


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """How long a worker may take for what, how large it may grow, how often it may fail.

    Attributes:
        start_timeout_s: until it is warm.
        health_interval_s: between health checks, and for the answer to each.
        progress_timeout_s: for the next sound of any render, while one is waited for.
        drain_s: for what is being rendered when it is to be replaced in good order.
        memory_growth_bytes: how much more than when it was ready it may hold; 0: any amount.
        failure_limit: after so many failures in a row calls aren't made to wait for the next
            worker.
        retry_s: between the tries to start one from then on.
    """

    start_timeout_s: float
    health_interval_s: float
    progress_timeout_s: float
    drain_s: float
    memory_growth_bytes: int
    failure_limit: int
    retry_s: float
