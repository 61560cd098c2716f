"""One arena for the tensors of all sessions."""

import threading
from functools import cache

import onnxruntime

__all__ = ["shrink_after_runs", "take_from_arena"]

# It grows by regions of these sizes. Only a region that is free as a whole can go back, and small
# ones are more often.
_LEAST_REGION_BYTES = 1 << 20
_LARGEST_REGION_BYTES = 4 << 20

_lock = threading.Lock()


def take_from_arena(options: onnxruntime.SessionOptions) -> None:
    """Has a session take its tensors from the arena that the process has.

    With an arena each, sessions would keep what the rarest of texts once took, every one of them;
    with none, tensors lie among the pieces that live on, ever further apart.
    """
    with _lock:
        _register()
    options.add_session_config_entry("session.use_env_allocators", "1")
    # Weights stay, and would hold regions for good.
    options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")


def shrink_after_runs(options: onnxruntime.RunOptions) -> None:
    """Has each run with these options free the regions in which nothing is left."""
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")


@cache
def _register() -> None:
    """A second one can't be registered, nor can the first be removed."""
    memory = onnxruntime.OrtMemoryInfo(
        "Cpu",
        onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR,
        0,
        onnxruntime.OrtMemType.DEFAULT,
    )
    by_doubling = 0
    sizes = {
        "max_mem": 0,
        "arena_extend_strategy": by_doubling,
        "initial_chunk_size_bytes": _LEAST_REGION_BYTES,
        "initial_growth_chunk_size_bytes": _LEAST_REGION_BYTES,
        "max_power_of_two_extend_bytes": _LARGEST_REGION_BYTES,
        "max_dead_bytes_per_chunk": -1,
    }
    onnxruntime.create_and_register_allocator(memory, onnxruntime.OrtArenaCfg(sizes))
