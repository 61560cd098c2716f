"""What is spoken under load, and in which order."""

import random
from collections.abc import Iterable, Iterator

__all__ = ["SENTENCES", "in_turn"]

# English, 60 to 200 characters: questions, numbers, quotes and clauses, as texts have them.
SENTENCES = (
    "The parcel arrives on Monday at 9:30, and somebody over eighteen has to sign for it.",
    "Could you tell me whether the last train to the coast still stops at the old harbour?",
    "She counted forty-two lanterns along the river before the fog swallowed the other bank.",
    "Your balance is 1,284 euros and 16 cents; the next payment is due on the third of March.",
    "When the kettle began to sing, the cat left the windowsill, crossed the kitchen without a "
    "sound, and sat down next to the stove.",
    "Turn left after the bakery, follow the tram lines for two hundred metres, and you will see "
    "the library on your right.",
    "Nobody in the village remembered who had planted the oak, but everyone agreed that it had "
    "to stay.",
    '"I would rather walk," he said, "than wait another hour for a bus that never comes."',
    "Rain is expected from the west this afternoon, with gusts of up to 70 kilometres an hour in "
    "the mountains; by the evening the sky will clear, and the night will be cold.",
    "Press one to repeat this message, two to speak with a person, or hang up to end the call.",
    "The committee meets twice a year, publishes its minutes, and has never agreed on anything.",
    "What surprised the engineers most was not the size of the crack but how long it had been "
    "there, unnoticed, under nine layers of paint.",
    "Simmer the lentils for twenty-five minutes, then add salt, lemon juice and a little cumin.",
    "Dear passengers, platform four is closed today; please use the lift beside the main hall.",
)


def in_turn(texts: Iterable[str], *, seed: int, caller: int = 0) -> Iterator[str]:
    """Yields the texts in an order drawn by the seed, round after round.

    Each caller begins at another one, so that callers in step don't say the same.

    Raises:
        ValueError: there is none.
    """
    order = list(texts)
    if not order:
        raise ValueError("there is no text to speak")
    random.Random(seed).shuffle(order)
    return _rotated(order, caller)


def _rotated(order: list[str], start: int) -> Iterator[str]:
    while True:
        yield order[start % len(order)]
        start += 1
