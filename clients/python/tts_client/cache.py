"""The speech that a server keeps: what a call wants of it, and whether it came from there."""

from tts_client.encoding import ContractEnum
from tts_client.errors import InvalidArgument


class CacheMode(ContractEnum):
    """What a call has to do with the speech that the server keeps.

    UNSPECIFIED: what was spoken before answers, and what is spoken now is kept. DEFAULT is
        another name for it.
    BYPASS: speaks anew and keeps nothing.
    REFRESH: speaks anew and keeps it in place of what was kept.
    ONLY: never speaks. What is not kept ends the call with `NotCached`.
    """

    UNSPECIFIED = 0
    DEFAULT = 0
    BYPASS = 1
    REFRESH = 2
    ONLY = 3

    @classmethod
    def parse(cls, name: str) -> "CacheMode":
        """The mode of a name such as `bypass`.

        Raises `InvalidArgument` with the choices.
        """
        # Not by iterating, which leaves other names of a member out.
        mode = cls.__members__.get(name.strip().upper())
        if mode is None:
            choices = ", ".join(("default", *CACHE_MODE_NAMES))
            raise InvalidArgument.of_field(
                "cache", f"there is no cache mode {name!r}; the choices are {choices}"
            )
        return mode


# What people are shown: the modes that differ from the default.
CACHE_MODE_NAMES = ("bypass", "refresh", "only")


class CacheStatus(ContractEnum):
    """Where the speech of a stream comes from.

    UNSPECIFIED: the server does not say; it may be older than this client, or newer.
    MISS: an engine speaks at least a part of it for this call.
    HIT: all of it was kept.
    JOINED: an engine speaks it for this call and for others that asked for the same.
    """

    UNSPECIFIED = 0
    MISS = 1
    HIT = 2
    JOINED = 3
