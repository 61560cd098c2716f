"""A closed loop: each caller calls again when its last call is done."""

import asyncio
from collections.abc import Iterable, Iterator

from tts_client.load.measurement import Measurement, OnListening
from tts_client.load.report import LoadReport
from tts_client.load.speak import Speak
from tts_client.load.texts import in_turn

__all__ = ["closed_loop"]

# A server that refuses at once is not to be asked as fast as this process can.
_AFTER_FAILURE_S = 0.1


async def closed_loop(
    speak: Speak,
    texts: Iterable[str],
    *,
    callers: int,
    duration_s: float,
    warm_up_s: float = 0.0,
    seed: int = 0,
    plays_out: bool = False,
    stop: asyncio.Event | None = None,
    on_listening: OnListening | None = None,
) -> LoadReport:
    """Lets callers call one call after another, and waits for those that are open at the end.

    A caller whose call has failed waits for 0.1 s before the next.

    Args:
        speak: what is called.
        texts: what is spoken, round after round; each caller begins at another one.
        callers: how many calls are open at once.
        duration_s: how long calls begin that count.
        warm_up_s: how long calls begin before that, which don't count.
        seed: draws the order of the texts.
        plays_out: whether a caller plays what it has heard to its end, in real time, before it
            calls again, as a person does. Without it a caller calls again as soon as it has the
            whole audio.
        stop: when set, no call begins any more, and those that are open are given up.
        on_listening: is told of each call that counts, at its end.

    Raises:
        ValueError: a number is out of its range, or there is no text.
    """
    if callers < 1:
        raise ValueError("callers must be at least 1")
    spoken = tuple(texts)
    measurement = Measurement(
        speak, duration_s=duration_s, warm_up_s=warm_up_s, on_listening=on_listening
    )

    async def call_on(turns: Iterator[str]) -> None:
        while not measurement.is_over:
            began_s = asyncio.get_running_loop().time()
            heard = await measurement.call(next(turns), began_s)
            if plays_out:
                await measurement.sleep_until(began_s + heard.played_ms / 1000)
            if heard.error:
                await measurement.sleep_until(asyncio.get_running_loop().time() + _AFTER_FAILURE_S)

    async def call_all() -> None:
        async with asyncio.TaskGroup() as group:
            for turns in orders:
                group.create_task(call_on(turns))

    orders = [in_turn(spoken, seed=seed, caller=number) for number in range(callers)]
    await measurement.run(call_all(), stop)
    return measurement.report(callers=callers)
