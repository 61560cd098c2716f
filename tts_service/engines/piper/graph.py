"""A graph that can be run by one thread or by several, with one copy of its weights."""

import math

import onnx
import onnxruntime
from onnx import TensorProto, numpy_helper

from .arena import take_from_arena

__all__ = ["Graph"]

# Numbers of a weight that is worth sharing. Small ones are also shapes and axes, which a session
# has to know when it plans.
_LARGE = 1024


class Graph:
    """Sessions of one graph. Any number of threads.

    Several renders at once are quickest with a thread each; a single one with several.

    Args:
        model: an ONNX model.
        threads: of a run that has the cores for itself.
    """

    def __init__(self, model: bytes, threads: int) -> None:
        # A session copies what it is not given, and does not keep what it is given alive.
        self._weights = {
            weight.name: onnxruntime.OrtValue.ortvalue_from_numpy(numpy_helper.to_array(weight))
            for weight in onnx.load_from_string(model).graph.initializer
            if weight.data_type == TensorProto.FLOAT and math.prod(weight.dims) >= _LARGE
        }
        self._crowded = _open(model, self._weights, 1)
        self._alone = self._crowded if threads == 1 else _open(model, self._weights, threads)
        self.input_names = frozenset(value.name for value in self._alone.get_inputs())

    def session(self, *, is_crowded: bool) -> onnxruntime.InferenceSession:
        """The session to run now."""
        return self._crowded if is_crowded else self._alone


def _open(
    model: bytes, weights: dict[str, onnxruntime.OrtValue], threads: int
) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Idle threads that spin take the cores from the front and from other renders.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Texts have all lengths, and it would keep a plan for each.
    options.enable_mem_pattern = False
    take_from_arena(options)
    for name, value in weights.items():
        options.add_initializer(name, value)
    return onnxruntime.InferenceSession(
        model, sess_options=options, providers=["CPUExecutionProvider"]
    )
