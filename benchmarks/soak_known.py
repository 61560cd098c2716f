"""What all callers of a soak know together: the right answers, the networks, what was done."""

import hashlib
import random
import threading
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from tests.faulty_network import FaultyNetwork

__all__ = ["Known", "Networks", "Wrong", "digest", "tone_texts"]

_WORDS = "river bridge lamp morning bread harbour letter window seven garden quiet rain".split()


class Wrong(Exception):  # noqa: N818 - it reads as what it says
    """A byte or a status that should not be."""


def tone_texts() -> list[str]:
    """What the callers ask the tone engine for again and again."""
    chance = random.Random(5)
    return [" ".join(chance.choices(_WORDS, k=chance.randint(2, 12))) + "." for _ in range(16)]


def digest(data: bytes) -> str:
    """Tells bytes from others."""
    return hashlib.sha256(data).hexdigest()


@dataclass
class Networks:
    """Ways to the server that are none of the best.

    Attributes:
        patient: carries all, late and in slices.
        thin: carries little.
        torn: cuts each connection off after some bytes.
    """

    patient: FaultyNetwork
    thin: FaultyNetwork
    torn: FaultyNetwork


@dataclass
class Known:
    """What all callers know of a server, guarded by one lock where they change it.

    Attributes:
        tones: the digest of each tone text by text and encoding, from a server that nobody harmed.
        made, found: of each Piper text the digests of what was spoken anew, and of what was kept.
        counts: what was done and how it ended.
        struck_s: when a worker was struck last.
    """

    tones: dict[tuple[str, int], str]
    networks: Networks
    made: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    found: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    served_bytes: int = 0
    struck_s: float = -1e9
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, what: str, outcome: str) -> None:
        """Takes note of something that was done."""
        with self.lock:
            self.counts[what, outcome] += 1

    def unmade(self) -> dict[str, int]:
        """Kept speech that differs from all that was spoken, by text: there must be none."""
        return {text: n for text, f in self.found.items() if (n := len(f - self.made[text]))}
