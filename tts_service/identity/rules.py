"""What each method needs. One that isn't listed here is nobody's."""

from collections.abc import Mapping
from enum import Enum, auto
from types import MappingProxyType

from .scope import Scope

__all__ = ["RULES", "Access", "rule_for"]


class Access(Enum):
    """What needs no scope."""

    ANYBODY = auto()
    """Probes of health know no secrets."""
    ANY_CALLER = auto()
    """Whoever is known, with whatever scopes."""


_SPEECH = "/tts.v1.TextToSpeech/"
_HEALTH = "/grpc.health.v1.Health/"

RULES: Mapping[str, Access | Scope] = MappingProxyType(
    {
        f"{_SPEECH}Synthesize": Scope.SPEAK,
        f"{_SPEECH}ListVoices": Access.ANY_CALLER,
        f"{_SPEECH}GetVoice": Access.ANY_CALLER,
        f"{_SPEECH}UploadVoice": Scope.VOICES,
        f"{_SPEECH}DeleteVoice": Scope.VOICES,
        f"{_SPEECH}GetServerInfo": Access.ANY_CALLER,
        f"{_HEALTH}Check": Access.ANYBODY,
        f"{_HEALTH}List": Access.ANYBODY,
        f"{_HEALTH}Watch": Access.ANYBODY,
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": Access.ANY_CALLER,
    }
)


def rule_for(method: str) -> Access | Scope | None:
    """What a method, by its full name, needs. None: there is no rule, so it is refused."""
    return RULES.get(method)
