"""A VITS graph in parts, cut where its structure allows it.

    text     phonemes -> latent of every frame, with its noise, and a mask
    flow     latent, mask -> what the decoder takes, frame by frame
    decoder  frames -> samples, in a part for each of its upsamplings

The further a part of the decoder is from the text, the more it has to compute for a frame, and the
less of what is beside the frame it has to see.

The names of tensors belong to whoever exported the graph. What is looked for is what every VITS
has: noise that is scaled and added to the expanded text, and a mask that is multiplied last before
the decoder (Kim et al. 2021, https://arxiv.org/abs/2106.06103, figure 1b).
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Set
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

from .layout import to_2d

__all__ = ["GraphParts", "NotInPartsError", "Stage", "take_apart"]

_NOISE = "RandomNormalLike"
# Noise is scaled by the standard deviation and by the caller's factor, then the mean is added.
_NOISE_PATH = ("Mul", "Mul", "Add")
_CONVOLUTION, _UPSAMPLING = "Conv", "ConvTranspose"
# What a part behind the text may be given beside frames.
_SPEAKER = "sid"


class NotInPartsError(Exception):
    """This graph does not come apart; the text says why."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What makes one tensor along time of another, each of shape (1, channels, time).

    Attributes:
        takes: name of the tensor that goes in.
        gives: name of the one that comes out.
        scale: samples that come out for each that goes in.
        reach: how many samples to either side, of what goes in, one that comes out depends on.
        width: how many numbers its widest layer makes for each sample that goes in.
    """

    model: ModelProto
    takes: str
    gives: str
    scale: int
    reach: int
    width: int


@dataclass(frozen=True, slots=True)
class GraphParts:
    """The parts, and what passes between them.

    Attributes:
        mask: name of a tensor of shape (1, 1, frames), from the text to the first stage.
        stages: the first takes the text's latent, each other what the one before it gives, and
            the last gives samples.
    """

    text: ModelProto
    mask: str
    stages: tuple[Stage, ...]


def take_apart(model: ModelProto) -> GraphParts:
    """Divides a model into its parts.

    Raises:
        NotInPartsError: it isn't built like a VITS.
    """
    graph = _Graph(model)
    latent = graph.find_latent()
    later = graph.nodes_behind(latent)
    mask = graph.find_mask(latent, later)
    frames = next(node.output[0] for node in reversed(later) if mask in node.input)
    upsamplings = [n for n in graph.nodes_behind(frames) if n.op_type == _UPSAMPLING]
    inputs = [value.name for value in model.graph.input]
    cuts = [
        latent,
        frames,
        *(node.input[0] for node in upsamplings[1:]),
        model.graph.output[0].name,
    ]
    stages = []
    for takes, gives in pairwise(cuts):
        given = [takes, mask] if takes == latent else [takes]
        part = graph.extract(given, [gives], may_take={_SPEAKER})
        stages.append(Stage(to_2d(part), takes, gives, *_measure(part.graph, takes)))
    text = graph.extract(inputs, [latent, mask], may_take=set(inputs))
    return GraphParts(text, mask, tuple(stages))


class _Graph:
    """A graph and the ways through it."""

    def __init__(self, model: ModelProto) -> None:
        self._model = model
        self._graph: GraphProto = model.graph
        self._maker = {name: node for node in self._graph.node for name in node.output}
        self._users: dict[str, list[NodeProto]] = defaultdict(list)
        for node in self._graph.node:
            for name in node.input:
                self._users[name].append(node)
        self._inputs = {value.name for value in self._graph.input}

    def find_latent(self) -> str:
        """The text's frames with their noise: the last noise of the graph, scaled and added."""
        noises = [node for node in self._graph.node if node.op_type == _NOISE]
        if not noises:
            raise NotInPartsError("it draws no noise")
        name = noises[-1].output[0]
        for kind in _NOISE_PATH:
            users = self._users[name]
            if len(users) != 1 or users[0].op_type != kind:
                raise NotInPartsError("its noise is not scaled and added")
            name = users[0].output[0]
        return name

    def nodes_behind(self, name: str) -> list[NodeProto]:
        """All nodes that depend on a tensor, in the graph's order."""
        reached = {name}
        found = []
        for node in self._graph.node:  # in an order in which nothing comes before its inputs
            if reached.intersection(node.input):
                reached.update(node.output)
                found.append(node)
        return found

    def find_mask(self, latent: str, later: list[NodeProto]) -> str:
        """The one tensor beside the latent that the rest takes from the text."""
        made = {latent, *(name for node in later for name in node.output)}
        taken = {
            name
            for node in later
            for name in node.input
            if name not in made and self._sources(name) - {_SPEAKER}
        }
        if len(taken) != 1:
            raise NotInPartsError(f"{len(taken)} tensors pass by its flow, and not its mask alone")
        return taken.pop()

    def extract(self, given: list[str], wanted: list[str], *, may_take: Set[str]) -> ModelProto:
        """The model that makes the wanted tensors of the given ones."""
        nodes = self._needed(wanted, stop_at=set(given))
        used = {name for node in nodes for name in node.input}
        taken = (used & self._inputs) - set(given)
        if taken - may_take:
            raise NotInPartsError(f"{wanted[0]} needs {', '.join(sorted(taken - may_take))}, too")
        graph = helper.make_graph(
            nodes,
            "part",
            [self._value(name) for name in (*given, *sorted(taken)) if name in used],
            [self._value(name) for name in wanted],
            [weight for weight in self._graph.initializer if weight.name in used],
        )
        return helper.make_model(
            graph,
            opset_imports=self._model.opset_import,
            ir_version=self._model.ir_version,
        )

    def _sources(self, name: str) -> set[str]:
        """The graph's inputs that a tensor depends on."""
        return self._needed_names([name]) & self._inputs

    def _needed(self, wanted: Iterable[str], *, stop_at: Set[str]) -> list[NodeProto]:
        """The nodes that make tensors, in the graph's order."""
        names = self._needed_names(wanted, stop_at=stop_at)
        return [node for node in self._graph.node if names.intersection(node.output)]

    def _needed_names(self, wanted: Iterable[str], *, stop_at: Set[str] = frozenset()) -> set[str]:
        """Tensors and all that they depend on, up to those to stop at."""
        seen: set[str] = set()
        waiting = list(wanted)
        while waiting:
            name = waiting.pop()
            if name in stop_at or name in seen:
                continue
            seen.add(name)
            if (node := self._maker.get(name)) is not None:
                waiting.extend(node.input)
        return seen

    def _value(self, name: str) -> ValueInfoProto:
        for value in (*self._graph.input, *self._graph.output):
            if value.name == name:
                return value
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, None, None])


def _measure(graph: GraphProto, takes: str) -> tuple[int, int, int]:
    """Follows a tensor along time to the end of a graph: scale, reach and width of a `Stage`."""
    shapes = {weight.name: tuple(weight.dims) for weight in graph.initializer}
    reached: dict[str, tuple[int, Fraction]] = {takes: (1, Fraction(0))}
    width = 1
    for node in graph.node:
        ways = [reached[name] for name in node.input if name in reached]
        if not ways:
            continue
        scale, reach = max(way[0] for way in ways), max(way[1] for way in ways)
        if node.op_type in (_CONVOLUTION, _UPSAMPLING):
            shape = shapes.get(node.input[1])
            if shape is None:
                raise NotInPartsError("a convolution computes its weights")
            sizes = {a.name: a.ints[0] for a in node.attribute if a.ints}
            before, stride = sizes.get("pads", 0), sizes.get("strides", 1)
            span = (shape[-1] - 1) * sizes.get("dilations", 1)
            scale *= stride
            reach += Fraction(max(before, span - before), scale)
            width = max(width, shape[1 if node.op_type == _UPSAMPLING else 0] * scale)
        for name in node.output:
            reached[name] = (scale, reach)
    scale, reach = reached[graph.output[0].name]
    return scale, math.ceil(reach), width
