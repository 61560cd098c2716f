"""This service, as a process of its own past its cache: every call is spoken."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc.aio

from protos.tts.v1 import tts_pb2, tts_pb2_grpc
from tests.server_process import ServerProcess, running_server
from tts_client.load import Speak

__all__ = ["Service", "service"]


@dataclass(frozen=True, slots=True)
class Service:
    """A running server.

    Attributes:
        server: its process.
        stub: on a channel of the running loop.
    """

    server: ServerProcess
    stub: "tts_pb2_grpc.TextToSpeechAsyncStub"

    def speak(self, encoding: tts_pb2.Encoding.ValueType) -> Speak:
        """Calls for one encoding, all on one channel."""

        async def speak(text: str, /) -> AsyncIterator[float]:
            # Callers of one text at once would otherwise share one rendering, which no peer does.
            request = tts_pb2.SynthesizeRequest(
                text=text,
                format=tts_pb2.AudioFormat(encoding=encoding),
                cache=tts_pb2.CACHE_MODE_BYPASS,
            )
            event = None
            async for event in self.stub.Synthesize(request):
                # A frame without duration holds bytes of the container and no sound.
                if event.HasField("audio") and event.audio.duration_ms:
                    yield float(event.audio.duration_ms)
            if event is None or not event.HasField("summary"):
                raise RuntimeError("was cut off")

        return speak


@asynccontextmanager
async def service(*flags: str) -> AsyncIterator[Service]:
    """Starts `tts-service serve` with these flags on a free port."""
    with TemporaryDirectory() as folder, running_server(Path(folder), *flags) as server:
        async with grpc.aio.insecure_channel(server.address) as channel:
            yield Service(server, tts_pb2_grpc.TextToSpeechStub(channel))
