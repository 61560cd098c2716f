"""How many people a peer can speak to at once, who listen as it speaks."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from tts_client.load import LoadReport, Speak, closed_loop, heard_in_time

__all__ = ["Held", "crowds_up_to", "largest", "most_listeners"]

_WARM_UP_S = 4.0  # as long as a short text plays: callers begin in step, and fall out of it


@dataclass(frozen=True, slots=True)
class Held:
    """The largest crowd that heard everything in time.

    Attributes:
        listeners: how many; 0 if not even one did.
        first_audio_ms: the 95th percentile of what they waited; 0 without listeners.
        tried: every crowd that was tried, in this order.
    """

    listeners: int
    first_audio_ms: float
    tried: tuple[LoadReport, ...]


async def most_listeners(
    speak: Speak, texts: Sequence[str], *, audio_per_s: float, duration_s: float
) -> Held:
    """Finds the most listeners of whom each hears all calls in time (see `heard_in_time`).

    A listener makes its next call when the last one has been played, in real time. So nobody can
    serve many more of them than it makes seconds of audio in a second, which is where the search
    has its upper end.

    Args:
        speak: what is called.
        texts: what is spoken.
        audio_per_s: the most audio that the peer makes in a second.
        duration_s: of each crowd, after its warm-up.
    """
    tried: dict[int, LoadReport] = {}

    async def hears_in_time(crowd: int) -> bool:
        tried[crowd] = await closed_loop(
            speak,
            texts,
            callers=crowd,
            duration_s=duration_s,
            warm_up_s=_WARM_UP_S,
            plays_out=True,
        )
        return heard_in_time(tried[crowd])

    most = await largest(crowds_up_to(1.25 * audio_per_s), hears_in_time)
    return Held(most, tried[most].first_audio_ms(95) if most else 0.0, tuple(tried.values()))


def crowds_up_to(limit: float) -> tuple[int, ...]:
    """Sizes from 1 until one is not below the limit, by an eighth or by one apart."""
    crowds = [1]
    while crowds[-1] < limit:
        crowds.append(crowds[-1] + max(1, crowds[-1] // 8))
    return tuple(crowds)


async def largest(crowds: Sequence[int], is_held: Callable[[int], Awaitable[bool]]) -> int:
    """The last crowd that is held, 0 if none is; supposes that those below it are held, too."""
    held, not_held = 0, len(crowds)  # of those in front of `held`, and from `not_held` on
    while held < not_held:
        middle = (held + not_held) // 2
        if await is_held(crowds[middle]):
            held = middle + 1
        else:
            not_held = middle
    return crowds[held - 1] if held else 0
