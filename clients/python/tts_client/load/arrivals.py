"""An open loop: calls arrive at their times, however the earlier ones fare."""

import asyncio
import math
import random
from collections.abc import Iterable

from tts_client.load.measurement import Measurement, OnListening
from tts_client.load.report import LoadReport
from tts_client.load.speak import Speak
from tts_client.load.texts import in_turn

__all__ = ["open_loop"]


async def open_loop(
    speak: Speak,
    texts: Iterable[str],
    *,
    rate_per_s: float,
    duration_s: float,
    in_flight_limit: int = 1000,
    warm_up_s: float = 0.0,
    seed: int = 0,
    stop: asyncio.Event | None = None,
    on_listening: OnListening | None = None,
) -> LoadReport:
    """Begins calls at random times (a Poisson process), and waits for them at the end.

    A slow server slows nothing down: calls pile up, as those of strangers do. Each is timed from
    when it was due.

    Args:
        speak: what is called.
        texts: what is spoken, round after round.
        rate_per_s: how many calls a second begin on average.
        duration_s: how long calls begin that count.
        in_flight_limit: calls that may be open at once. What is due beyond is counted as a call
            that failed with NOT_STARTED.
        warm_up_s: how long calls begin before that, which don't count.
        seed: draws the times and the order of the texts.
        stop: when set, no call begins any more, and those that are open are given up.
        on_listening: is told of each call that counts, at its end.

    Raises:
        ValueError: a number is out of its range, or there is no text.
    """
    if not 0 < rate_per_s < math.inf:
        raise ValueError("rate_per_s must be above 0")
    if in_flight_limit < 1:
        raise ValueError("in_flight_limit must be at least 1")
    turns = in_turn(texts, seed=seed)
    measurement = Measurement(
        speak, duration_s=duration_s, warm_up_s=warm_up_s, on_listening=on_listening
    )

    async def call_at_random() -> None:
        chance = random.Random(seed)
        open_calls: set[asyncio.Task[object]] = set()
        due_s = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            while (due_s := due_s + chance.expovariate(rate_per_s)) < measurement.ends_s:
                await measurement.sleep_until(due_s)
                text = next(turns)
                if len(open_calls) >= in_flight_limit:
                    measurement.refuse(text, due_s)
                    continue
                task = group.create_task(measurement.call(text, due_s))
                open_calls.add(task)
                task.add_done_callback(open_calls.discard)
            await measurement.sleep_until(measurement.ends_s)

    await measurement.run(call_at_random(), stop)
    return measurement.report(rate_per_s=rate_per_s)
