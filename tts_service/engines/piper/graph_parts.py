"""A VITS graph in three parts, cut where its structure allows it.

    text     phonemes -> latent of every frame, with its noise, and a mask
    flow     latent, mask -> what the decoder takes, frame by frame
    decoder  frames -> samples

The names of tensors belong to whoever exported the graph. What is looked for is what every VITS
has: noise that is scaled and added to the expanded text, and a mask that is multiplied last before
the decoder (Kim et al. 2021, https://arxiv.org/abs/2106.06103, figure 1b).
"""

from collections import defaultdict
from collections.abc import Iterable, Set
from dataclasses import dataclass

from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

__all__ = ["GraphParts", "NotInPartsError", "take_apart"]

_NOISE = "RandomNormalLike"
# Noise is scaled by the standard deviation and by the caller's factor, then the mean is added.
_NOISE_PATH = ("Mul", "Mul", "Add")
# What a part behind the text may be given beside frames.
_SPEAKER = "sid"


class NotInPartsError(Exception):
    """This graph does not come apart; the text says why."""


@dataclass(frozen=True, slots=True)
class GraphParts:
    """The parts, and what passes between them.

    Attributes:
        latent: name of a tensor of shape (1, channels, frames), from text to flow.
        mask: name of a tensor of shape (1, 1, frames), from text to flow.
        frames: name of a tensor of shape (1, channels, frames), from flow to decoder.
    """

    text: ModelProto
    flow: ModelProto
    decoder: ModelProto
    latent: str
    mask: str
    frames: str


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
    inputs = [value.name for value in model.graph.input]
    outputs = [value.name for value in model.graph.output]
    return GraphParts(
        text=graph.extract(inputs, [latent, mask], may_take=set(inputs)),
        flow=graph.extract([latent, mask], [frames], may_take={_SPEAKER}),
        decoder=graph.extract([frames], outputs[:1], may_take={_SPEAKER}),
        latent=latent,
        mask=mask,
        frames=frames,
    )


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
        nodes = self._needed([name], stop_at=set())
        return {name, *(used for node in nodes for used in node.input)} & self._inputs

    def _needed(self, wanted: Iterable[str], *, stop_at: Set[str]) -> list[NodeProto]:
        seen: set[str] = set()
        waiting = list(wanted)
        while waiting:
            name = waiting.pop()
            if name in stop_at or name in seen:
                continue
            seen.add(name)
            if (node := self._maker.get(name)) is not None:
                waiting.extend(node.input)
        return [node for node in self._graph.node if seen.intersection(node.output)]

    def _value(self, name: str) -> ValueInfoProto:
        for value in (*self._graph.input, *self._graph.output):
            if value.name == name:
                return value
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, None, None])
