"""The two clients behind one face, so that a test says once what both must do."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from tts_client import (
    AsyncClient,
    AudioFrame,
    Client,
    Header,
    Recordings,
    ServerInfo,
    Summary,
    UploadedVoice,
    Voice,
)

T = TypeVar("T")


@dataclass(frozen=True)
class Spoken:
    """A synthesis that was read to its end."""

    header: Header
    frames: list[AudioFrame]
    summary: Summary


class Face(Protocol):
    """What a caller does with a client. `heard` sees each frame as it comes."""

    def speak(
        self, text: str, heard: Callable[[AudioFrame], object] = ..., **options: Any
    ) -> Spoken: ...
    def cancel_after_first_frame(self, text: str) -> None: ...
    def read(self, text: str) -> bytes: ...
    def save(self, text: str, path: Path, **options: Any) -> Summary: ...
    def voices(self, **filters: str) -> list[Voice]: ...
    def voice(self, name: str) -> Voice: ...
    def upload_voice(self, recordings: Recordings, **options: Any) -> UploadedVoice: ...
    def delete_voice(self, name: str) -> None: ...
    def server_info(self) -> ServerInfo: ...


class SyncFace:
    """Drives `Client`."""

    def __init__(self, address: str, **settings: Any) -> None:
        self._open = lambda: Client(address, **settings)

    def speak(
        self, text: str, heard: Callable[[AudioFrame], object] = lambda _: None, **options: Any
    ) -> Spoken:
        with self._open() as client, client.synthesize(text, **options) as speech:
            header, frames = speech.header, []
            for frame in speech:
                heard(frame)
                frames.append(frame)
            return Spoken(header, frames, speech.summary)

    def cancel_after_first_frame(self, text: str) -> None:
        with self._open() as client:
            speech = client.synthesize(text)
            next(speech)
            speech.cancel()
            for _ in speech:
                pass

    def read(self, text: str) -> bytes:
        with self._open() as client:
            return client.synthesize(text).read()

    def save(self, text: str, path: Path, **options: Any) -> Summary:
        with self._open() as client:
            return client.save(text, path, **options)

    def voices(self, **filters: str) -> list[Voice]:
        with self._open() as client:
            return list(client.voices(**filters))

    def voice(self, name: str) -> Voice:
        with self._open() as client:
            return client.voice(name)

    def upload_voice(self, recordings: Recordings, **options: Any) -> UploadedVoice:
        with self._open() as client:
            return client.upload_voice(recordings, **options)

    def delete_voice(self, name: str) -> None:
        with self._open() as client:
            client.delete_voice(name)

    def server_info(self) -> ServerInfo:
        with self._open() as client:
            return client.server_info()


class AsyncFace:
    """Drives `AsyncClient`, in a loop of its own for each call."""

    def __init__(self, address: str, **settings: Any) -> None:
        self._address = address
        self._settings = settings

    def _run(self, work: Callable[[AsyncClient], Awaitable[T]]) -> T:
        async def main() -> T:
            async with AsyncClient(self._address, **self._settings) as client:
                return await work(client)

        return asyncio.run(main())

    def speak(
        self, text: str, heard: Callable[[AudioFrame], object] = lambda _: None, **options: Any
    ) -> Spoken:
        async def work(client: AsyncClient) -> Spoken:
            async with client.synthesize(text, **options) as speech:
                header, frames = await speech.header(), []
                async for frame in speech:
                    heard(frame)
                    frames.append(frame)
                return Spoken(header, frames, speech.summary)

        return self._run(work)

    def cancel_after_first_frame(self, text: str) -> None:
        async def work(client: AsyncClient) -> None:
            speech = client.synthesize(text)
            await anext(speech)
            speech.cancel()
            async for _ in speech:
                pass

        self._run(work)

    def read(self, text: str) -> bytes:
        return self._run(lambda client: client.synthesize(text).read())

    def save(self, text: str, path: Path, **options: Any) -> Summary:
        return self._run(lambda client: client.save(text, path, **options))

    def voices(self, **filters: str) -> list[Voice]:
        async def work(client: AsyncClient) -> list[Voice]:
            return [voice async for voice in client.voices(**filters)]

        return self._run(work)

    def voice(self, name: str) -> Voice:
        return self._run(lambda client: client.voice(name))

    def upload_voice(self, recordings: Recordings, **options: Any) -> UploadedVoice:
        return self._run(lambda client: client.upload_voice(recordings, **options))

    def delete_voice(self, name: str) -> None:
        return self._run(lambda client: client.delete_voice(name))

    def server_info(self) -> ServerInfo:
        return self._run(lambda client: client.server_info())


FACES: dict[str, Callable[..., Face]] = {"sync": SyncFace, "async": AsyncFace}
