"""From phonemes to samples: a voice's graph in windows, or whole."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from .windows import DECODER_CONTEXT, FLOW_CONTEXT, Window, plan_windows

__all__ = ["Phonemes", "Speech", "Spoken", "WholeSpeech", "WindowedSpeech", "open_session"]


@dataclass(frozen=True, slots=True)
class Phonemes:
    """What a graph takes.

    Attributes:
        ids: of the phonemes, in the voice's own numbering.
        scales: noise of the latent, length, noise of the durations.
        speaker: number of a speaker; None for voices that have but one.
    """

    ids: Sequence[int]
    scales: tuple[float, float, float]
    speaker: int | None

    def feed(self) -> dict[str, NDArray[Any]]:
        """As the graph's inputs."""
        feed: dict[str, NDArray[Any]] = {
            "input": np.array([self.ids], dtype=np.int64),
            "input_lengths": np.array([len(self.ids)], dtype=np.int64),
            "scales": np.array(self.scales, dtype=np.float32),
        }
        return feed | self.speaker_feed()

    def speaker_feed(self) -> dict[str, NDArray[Any]]:
        """The speaker, as a graph's input."""
        return {} if self.speaker is None else {"sid": np.array([self.speaker], dtype=np.int64)}


@dataclass(frozen=True, slots=True)
class Spoken:
    """Speech that has begun.

    Attributes:
        sample_count: of all of it, where that is known by now.
        runs: samples in order, each of shape (n,), made when they are asked for.
    """

    sample_count: int | None
    runs: Iterator[NDArray[np.float32]]


class Speech(Protocol):
    """A loaded voice. Any number of threads."""

    def speak(
        self, phonemes: Phonemes, options: onnxruntime.RunOptions, *, is_busy: bool
    ) -> Spoken:
        """Begins to speak.

        Args:
            options: its `terminate` ends a run in its midst, with onnxruntime's `Fail`.
            is_busy: whether others wait for the cores.
        """


class WholeSpeech:
    """Runs a graph as it is."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session

    def speak(
        self, phonemes: Phonemes, options: onnxruntime.RunOptions, *, is_busy: bool
    ) -> Spoken:
        """See `Speech`. All of it at once."""
        del is_busy
        samples = _run(self._session, phonemes.feed(), options).reshape(-1)
        return Spoken(len(samples), iter([samples]))


class WindowedSpeech:
    """Runs a graph's parts: the text once, the others over windows of frames.

    The windows, joined, are the samples of the whole graph, up to rounding.

    Args:
        latent, mask, frames: see `GraphParts`.
        frame_samples: samples of a frame.
    """

    def __init__(
        self,
        text: onnxruntime.InferenceSession,
        flow: onnxruntime.InferenceSession,
        decoder: onnxruntime.InferenceSession,
        *,
        latent: str,
        mask: str,
        frames: str,
        frame_samples: int,
    ) -> None:
        self._text = text
        self._flow = flow
        self._decoder = decoder
        self._latent = latent
        self._mask = mask
        self._frames = frames
        self._frame_samples = frame_samples

    def speak(
        self, phonemes: Phonemes, options: onnxruntime.RunOptions, *, is_busy: bool
    ) -> Spoken:
        """See `Speech`."""
        latent, mask = map(
            np.asarray, self._text.run([self._latent, self._mask], phonemes.feed(), options)
        )
        count = latent.shape[2]
        windows = plan_windows(count, is_busy=is_busy)
        runs = (self._window(latent, mask, window, phonemes, options) for window in windows)
        return Spoken(count * self._frame_samples, runs)

    def _window(
        self,
        latent: NDArray[np.float32],
        mask: NDArray[np.float32],
        window: Window,
        phonemes: Phonemes,
        options: onnxruntime.RunOptions,
    ) -> NDArray[np.float32]:
        count = latent.shape[2]
        # The decoder's context is made of frames of the flow, with a context of their own.
        first, last = window.with_context(DECODER_CONTEXT, count)
        start, end = window.with_context(DECODER_CONTEXT + FLOW_CONTEXT, count)
        frames = _run(
            self._flow,
            {self._latent: latent[:, :, start:end], self._mask: mask[:, :, start:end]}
            | _taken(self._flow, phonemes),
            options,
        )[:, :, first - start : last - start]
        samples = _run(
            self._decoder, {self._frames: frames} | _taken(self._decoder, phonemes), options
        ).reshape(-1)
        size = self._frame_samples
        return samples[(window.start - first) * size : (window.end - first) * size]


def open_session(model: Path | bytes, threads: int) -> onnxruntime.InferenceSession:
    """Loads a graph to be run by so many threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Idle threads that spin take the cores from the front and from other renders.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(
        source, sess_options=options, providers=["CPUExecutionProvider"]
    )


def _taken(session: onnxruntime.InferenceSession, phonemes: Phonemes) -> dict[str, NDArray[Any]]:
    names = {value.name for value in session.get_inputs()}
    return {name: value for name, value in phonemes.speaker_feed().items() if name in names}


def _run(
    session: onnxruntime.InferenceSession,
    feed: dict[str, NDArray[Any]],
    options: onnxruntime.RunOptions,
) -> NDArray[np.float32]:
    return np.asarray(session.run(None, feed, options)[0], dtype=np.float32)
