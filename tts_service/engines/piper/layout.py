"""One-dimensional convolutions as two-dimensional ones, of images that are one line high.

The same numbers, but ONNX Runtime has its blocked layout (NCHWc) and the kernels for it only for
images: a decoder's convolutions, of few channels and many samples, are a fifth quicker.
"""

from collections.abc import Mapping, MutableSequence

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper

__all__ = ["to_2d"]

_CONVOLUTIONS = {"Conv", "ConvTranspose"}
# What is done number by number, wherever that stands.
_POINTWISE = {"Add", "Div", "LeakyRelu", "Mul", "Relu", "Sigmoid", "Sub", "Tanh", "Unsqueeze"}
# Attributes of a convolution that have a number for each axis.
_PER_AXIS = {"kernel_shape", "strides", "dilations"}
_LINES = 2


def to_2d(model: ModelProto) -> ModelProto:
    """Returns a model that makes the same of the same, of a graph with one input.

    A graph in which anything but convolutions and pointwise operations is done is returned as
    it is.
    """
    if not _is_simple(model.graph):
        return model
    changed = ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    takes, gives = graph.input[0].name, graph.output[0].name
    weights = {node.input[1] for node in graph.node if node.op_type in _CONVOLUTIONS}
    for weight in graph.initializer:
        if weight.name in weights:
            images = np.expand_dims(numpy_helper.to_array(weight), _LINES)
            weight.CopyFrom(numpy_helper.from_array(images, weight.name))
    inner = {takes: f"{takes}/2d", gives: f"{gives}/2d"}
    for node in graph.node:
        if node.op_type in _CONVOLUTIONS:
            _add_axis(node)
        _rename(node.input, inner)
        _rename(node.output, inner)
    axes = f"{takes}/lines"
    graph.initializer.append(numpy_helper.from_array(np.array([_LINES]), axes))
    graph.node.insert(0, helper.make_node("Unsqueeze", [takes, axes], [inner[takes]]))
    graph.node.append(helper.make_node("Squeeze", [inner[gives], axes], [gives]))
    return changed


def _is_simple(graph: GraphProto) -> bool:
    """Whether all that is computed is along time, or a single number."""
    if len(graph.input) != 1:
        return False
    single = {w.name for w in graph.initializer if np.prod(w.dims) == 1}
    known = {graph.input[0].name} | single
    for node in graph.node:
        if node.op_type not in _CONVOLUTIONS | _POINTWISE:
            return False
        # A convolution's other inputs are its weights.
        if not known.issuperset(node.input[: 1 if node.op_type in _CONVOLUTIONS else None]):
            return False
        known.update(node.output)
    return True


def _rename(names: MutableSequence[str], renamed: Mapping[str, str]) -> None:
    names[:] = [renamed.get(name, name) for name in names]


def _add_axis(node: NodeProto) -> None:
    for attribute in node.attribute:
        if attribute.name in _PER_AXIS:
            attribute.ints.insert(0, 1)
        elif attribute.name == "pads":
            before, after = attribute.ints
            attribute.ints[:] = [0, before, 0, after]
