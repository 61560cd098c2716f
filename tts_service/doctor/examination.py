"""All checks, in the order in which they are worth reading."""

from collections.abc import Callable, Iterable, Iterator

from ..config import Settings
from .address import look_at_addresses
from .codecs import look_at_codecs
from .disk import look_at_disk
from .engines import look_at_engines
from .finding import Finding, fail
from .kept import look_at_cache, look_at_voices
from .machine import look_at_clock, look_at_memory, look_at_open_files, look_at_sockets
from .packages import look_at_packages
from .self_talk import look_at_speech
from .trust import look_at_trust

__all__ = ["examine"]

_CHECKS: tuple[tuple[str, Callable[[Settings], Iterable[Finding]]], ...] = (
    ("packages", look_at_packages),
    ("address", look_at_addresses),
    ("trust", look_at_trust),
    ("disk", look_at_disk),
    ("open files", look_at_open_files),
    ("sockets", look_at_sockets),
    ("clock", look_at_clock),
    ("memory", look_at_memory),
    ("cache", look_at_cache),
    ("voices", look_at_voices),
    ("codecs", look_at_codecs),
    ("engines", look_at_engines),
)
_SPEECH = ("speech", look_at_speech)


def examine(
    settings: Settings, *, speaks: bool, on_begin: Callable[[str], None]
) -> Iterator[Finding]:
    """Yields what each check finds, as soon as it is known.

    Nothing of a server that runs meanwhile is changed.

    Args:
        speaks: whether a private server is started, to hear whether it speaks.
        on_begin: called with the name of each check before it is done.
    """
    for name, look in (*_CHECKS, *([_SPEECH] if speaks else [])):
        on_begin(name)
        try:
            yield from look(settings)
        # One check that stumbles over what nobody thought of doesn't keep the others from being
        # done.
        except Exception as error:
            yield fail(
                name, f"could not be looked at: {type(error).__name__}: {error}", "please report it"
            )
