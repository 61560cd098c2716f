"""What keeps a model that rambles from being heard doing so."""

import math
from collections import deque

import numpy as np
from numpy.typing import NDArray

__all__ = ["HOLD_CODES", "TailGate", "code_ceiling", "fade_out"]

# 21.53 codes are a second. 2.4 codes a character are 9 characters a second, two thirds of a
# calm reader's pace, and 602 codes, the model's own limit, for the 250 characters that it was
# trained on. The allowance is for breath before and after.
_CODES_PER_CHARACTER = 2.4
_ALLOWANCE_CODES = 43

# Texts of a word or two are the ones that ramble. While their ceiling is no higher they are held
# until they end, so that a second try can take the place of a first that doesn't.
HOLD_CODES = 64

_FADE_MS = 5
_FRAME_MS = 10
_SILENCE_BELOW = 0.01  # 40 dB below the loudest frame so far
_LONG_SILENCE_FRAMES = 40
# Nobody pauses for so long within a sentence; and who hears nothing for long takes its worker for
# stuck.
_LAST_SILENCE_FRAMES = 500
_REAL_SOUND_FRAMES = 20
_GAP_FRAMES = 12
_KEPT_SILENCE_FRAMES = 10


def code_ceiling(characters: int, max_codes: int) -> int:
    """Returns how many codes a text of this length may take.

    Args:
        characters: of the text with its numbers spelled out.
        max_codes: what the model can do at all.
    """
    return min(max_codes, _ALLOWANCE_CODES + math.ceil(_CODES_PER_CHARACTER * characters))


def fade_out(samples: NDArray[np.float32], sample_rate_hz: int) -> NDArray[np.float32]:
    """Returns samples, of shape (n,), whose last 5 ms end in silence: a cut without a click."""
    length = min(len(samples), sample_rate_hz * _FADE_MS // 1000)
    faded = samples.copy()
    if length:
        faded[-length:] *= np.linspace(1.0, 0.0, length, dtype=np.float32)
        faded[-1] = 0.0
    return faded


class TailGate:
    """Lets speech through at once, and a short noise behind a long silence only with more to come.

    After its last word the model may leave a silence and then a click, a breath or half a
    syllable. So what follows 400 ms of silence, longer than a pause within a sentence, waits until
    it has sounded for 200 ms, as the shortest words do, with no gap longer than the closure of a
    consonant. If the utterance ends before that, it's dropped with all but 100 ms of the silence.
    Behind five seconds of silence it ends, whatever comes. What is decided depends on the samples
    alone, not on the pieces they come in.
    """

    def __init__(self, sample_rate_hz: int) -> None:
        self._frame = sample_rate_hz * _FRAME_MS // 1000
        self._sample_rate_hz = sample_rate_hz
        self._rest = np.zeros(0, dtype=np.float32)
        self._held: deque[NDArray[np.float32]] = deque()
        self._loudest = 0.0
        self._silent_run = 0
        self._sound = 0
        self._gap = 0

    def push(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Takes samples of shape (n,), and returns those that may be heard."""
        samples = np.concatenate((self._rest, samples))
        # The last frame stays, so that there is something to fade.
        whole = max(0, len(samples) // self._frame - 1) * self._frame
        self._rest = samples[whole:]
        passed: list[NDArray[np.float32]] = []
        frames = samples[:whole].reshape(-1, self._frame)
        for frame, level in zip(frames, _levels(frames), strict=True):
            if self.is_over:
                break
            self._held.append(frame)
            if self._settles(level):
                passed.extend(self._held)
                self._held.clear()
        return np.concatenate(passed) if passed else np.zeros(0, dtype=np.float32)

    def finish(self, *, cut: bool) -> NDArray[np.float32]:
        """Returns what may still be heard at the end.

        Args:
            cut: the utterance didn't end by itself, so its end is faded.
        """
        held: list[NDArray[np.float32]] = []
        while len(self._rest) >= self._frame and not self.is_over:
            frame, self._rest = np.split(self._rest, [self._frame])
            self._held.append(frame)
            if self._settles(_levels(frame[np.newaxis])[0]):
                held.extend(self._held)
                self._held.clear()
        dropped = self._silent_run >= _LONG_SILENCE_FRAMES
        tail = list(self._held)
        held += tail[:_KEPT_SILENCE_FRAMES] if dropped else [*tail, self._rest]
        self._held.clear()
        samples = np.concatenate(held) if held else np.zeros(0, dtype=np.float32)
        return fade_out(samples, self._sample_rate_hz) if cut or dropped else samples

    @property
    def is_over(self) -> bool:
        """Whether nothing that comes will be heard."""
        return self._silent_run >= _LAST_SILENCE_FRAMES

    def _settles(self, level: float) -> bool:
        """Takes note of a frame's level, and says whether all that is held may go."""
        silent = level < self._loudest * _SILENCE_BELOW
        self._loudest = max(self._loudest, level)
        if silent and self._sound == 0:
            self._silent_run += 1
            return False
        if silent:
            self._gap += 1
            if self._gap >= _GAP_FRAMES:
                # It was a short noise within the silence.
                self._silent_run += self._sound + self._gap
                self._sound = self._gap = 0
            return False
        self._sound += 1
        self._gap = 0
        if self._silent_run >= _LONG_SILENCE_FRAMES and self._sound < _REAL_SOUND_FRAMES:
            return False
        self._silent_run = self._sound = 0
        return True


def _levels(frames: NDArray[np.float32]) -> list[float]:
    """The level of each frame; shape (n, samples). All at once, for it is the loop's own time."""
    levels: list[float] = np.sqrt(np.mean(np.square(frames), axis=1)).tolist()
    return levels
