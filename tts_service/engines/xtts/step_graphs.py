"""A step recorded once for each shape as a CUDA graph, and replayed."""

from collections.abc import Callable

import structlog
import torch

__all__ = ["StepGraphs"]

# Runs before a capture, as PyTorch's notes on CUDA graphs ask for.
_WARM_UPS = 2


class StepGraphs:
    """Replays `step`, which reads and writes tensors of fixed places and never waits.

    At 30 layers a step is some 500 kernels, each shorter than its launch: without a graph a GPU
    waits for Python most of the time. A shape that can't be captured runs eagerly.

    Args:
        step: takes the batch size and the positions that attention reads.
        device: where it runs, which need not be the thread's current one.
    """

    def __init__(self, step: Callable[[int, int], None], device: torch.device) -> None:
        self._step = step
        self._device = device
        self._graphs: dict[tuple[int, int], torch.cuda.CUDAGraph] = {}
        self._pool = torch.cuda.graph_pool_handle()

    def run(self, batch: int, positions: int) -> None:
        """Takes one step."""
        graph = self._graphs.get((batch, positions))
        with torch.cuda.device(self._device):
            if graph is None:
                self._step(batch, positions)
            else:
                graph.replay()

    @torch.inference_mode()
    def capture(self, batch: int, positions: int) -> None:
        """Records a shape. Called while no slot is in use, since it runs the step."""
        with torch.cuda.device(self._device):
            self._capture(batch, positions)

    def _capture(self, batch: int, positions: int) -> None:
        graph = torch.cuda.CUDAGraph()
        stream: torch.cuda.Stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        try:
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(_WARM_UPS):
                    self._step(batch, positions)
            torch.cuda.current_stream().wait_stream(stream)
            with torch.cuda.graph(graph, pool=self._pool):
                self._step(batch, positions)
        except RuntimeError as error:
            structlog.get_logger().warning(
                "no CUDA graph", batch=batch, positions=positions, error=str(error)
            )
        else:
            self._graphs[batch, positions] = graph
