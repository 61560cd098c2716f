"""What an engine is to those who use its voices."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from protos.engine.v1 import engine_pb2

from ..text import parse_language

__all__ = ["EngineTraits", "usual_case"]


@dataclass(frozen=True, slots=True)
class EngineTraits:
    """What holds for all voices of an engine.

    Attributes:
        model_fingerprint: over the content of all its models.
        max_segment_characters: longest text that it takes at once, in code points.
        segment_characters_by_language: overrides that for these BCP-47 tags, in their usual
            case.
        opening_characters: about how long its first segment is best; 0 for as long as any.
        can_change_speed: whether it honours a speed.
        can_sample: whether it honours a `Sampling`.
        can_mix: whether it speaks with mixes of its voices.
        mix_sample_rate_hz: rate of the PCM of such mixes and of cloned voices; 0 if it makes
            neither.
    """

    model_fingerprint: str = ""
    max_segment_characters: int = 0
    segment_characters_by_language: Mapping[str, int] = field(default_factory=dict)
    opening_characters: int = 0
    can_change_speed: bool = False
    can_sample: bool = False
    can_mix: bool = False
    mix_sample_rate_hz: int = 0

    @classmethod
    def of(cls, description: engine_pb2.DescribeResponse) -> "EngineTraits":
        """Reads what an engine says of itself."""
        abilities = set(description.abilities)
        return cls(
            model_fingerprint=description.model_fingerprint,
            max_segment_characters=description.max_segment_characters,
            segment_characters_by_language={
                usual_case(tag): limit
                for tag, limit in description.segment_characters_by_language.items()
            },
            opening_characters=description.opening_characters,
            can_change_speed=engine_pb2.ABILITY_SPEED in abilities,
            can_sample=engine_pb2.ABILITY_SAMPLING in abilities,
            can_mix=engine_pb2.ABILITY_MIX in abilities,
            mix_sample_rate_hz=description.clone_sample_rate_hz,
        )

    def segment_characters(self, language: str) -> int:
        """Longest text in this language that the engine takes at once, in code points.

        What is said of `zh` holds for `zh-CN`, unless more is said of that.
        """
        tag = language
        while tag and tag not in self.segment_characters_by_language:
            tag = tag.rpartition("-")[0]
        return self.segment_characters_by_language.get(tag, self.max_segment_characters)


def usual_case(tag: str) -> str:
    """An engine's language tag in its usual case; as it is if it is none by the book."""
    try:
        return parse_language(tag)
    except ValueError:
        return tag
