"""What a worker is asked to speak: the front's side of `engine.v1.RenderRequest`."""

from dataclasses import dataclass, field

from protos.engine.v1 import engine_pb2

from ..sampling import Sampling

__all__ = ["SegmentJob", "Speaker"]


@dataclass(frozen=True, slots=True)
class Speaker:
    """A voice as a worker knows it.

    Attributes:
        voice: one of the engine's; "" if there is an `embedding`.
        embedding: what `Connection.embed` returned; empty for the engine's own voices.
        weight: above 0; its part in a mix is its share in the sum of all weights.
    """

    voice: str
    embedding: bytes = b""
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class SegmentJob:
    """One segment of text.

    Attributes:
        speakers: who speaks, at least one; several are mixed.
        speed: factor on the speaking rate; 1.0 is the voice's own.
        look_ahead: whether the listener still hears something earlier.
        lead_ms: how much of that there is.
        ahead_ms: how much there is whenever what is rendered isn't taken at once.
    """

    text: str
    speakers: tuple[Speaker, ...]
    language: str
    speed: float = 1.0
    sampling: Sampling = field(default_factory=Sampling)
    look_ahead: bool = False
    lead_ms: int = 0
    ahead_ms: int = 0

    def to_proto(self) -> engine_pb2.RenderRequest:
        """As the worker reads it."""
        message = engine_pb2.RenderRequest(
            text=self.text,
            language=self.language,
            speed=self.speed,
            look_ahead=self.look_ahead,
            lead_ms=self.lead_ms,
            ahead_ms=self.ahead_ms,
        )
        if len(self.speakers) == 1:
            message.voice = self.speakers[0].voice
            message.embedding = self.speakers[0].embedding
        else:
            message.mix.extend(
                engine_pb2.VoiceShare(
                    voice=speaker.voice, embedding=speaker.embedding, weight=speaker.weight
                )
                for speaker in self.speakers
            )
        sampling = self.sampling
        if sampling != Sampling():
            message.sampling.CopyFrom(
                engine_pb2.Sampling(
                    temperature=sampling.temperature,
                    top_k=sampling.top_k,
                    top_p=sampling.top_p,
                    repetition_penalty=sampling.repetition_penalty,
                    seed=sampling.seed,
                )
            )
        return message
