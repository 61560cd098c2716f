"""The Piper voices in memory."""

import threading
from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from .kept_parts import open_speech
from .phonemizer import Phonemizer
from .speech import Speech
from .voices import VoiceFile

__all__ = ["LoadedVoice", "LoadedVoices"]


@dataclass(frozen=True, slots=True)
class LoadedVoice:
    """A voice that can speak.

    Attributes:
        phonemizer: makes phonemes of texts.
    """

    phonemizer: Phonemizer
    speech: Speech


class LoadedVoices:
    """The voices in memory, the least recently used dropped first.

    Args:
        limit: how many stay loaded. A voice that is in use when it is dropped lives on
            until its last render is done.
        parts_dir: see `open_speech`.
        threads: threads of each model's operators.
    """

    def __init__(self, *, limit: int, parts_dir: Path | None, threads: int) -> None:
        self._limit = limit
        self._parts_dir = parts_dir
        self._threads = threads
        self._voices: OrderedDict[str, Future[LoadedVoice]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, file: VoiceFile) -> LoadedVoice:
        """Returns the voice, loading it if need be (0.4 s for a medium one).

        Callers of a voice that is being loaded wait for it, and nobody else does.
        """
        with self._lock:
            voice = self._voices.get(file.name)
            is_cold = voice is None
            if voice is None:
                voice = self._voices[file.name] = Future()
            self._voices.move_to_end(file.name)
            while len(self._voices) > self._limit:
                self._voices.popitem(last=False)
        if is_cold:
            try:
                voice.set_result(self._load(file))
            except BaseException as error:
                with self._lock:
                    if self._voices.get(file.name) is voice:
                        del self._voices[file.name]
                voice.set_exception(error)
        return voice.result()

    def clear(self) -> None:
        """Drops all voices."""
        with self._lock:
            self._voices.clear()

    def _load(self, file: VoiceFile) -> LoadedVoice:
        return LoadedVoice(Phonemizer(file), open_speech(file, self._parts_dir, self._threads))
