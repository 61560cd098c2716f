"""The client for asyncio. It does what `tts_client.client` does, and awaits."""

import asyncio
import functools
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar, Unpack

import grpc
import grpc.aio

from protos.tts.v1 import tts_pb2 as pb
from protos.tts.v1.tts_pb2_grpc import TextToSpeechStub
from tts_client.call import Call
from tts_client.channel import RetryPolicy
from tts_client.client import Client
from tts_client.connection import Connection
from tts_client.errors import Cancelled, CorruptStream
from tts_client.partial_file import PartialFile
from tts_client.recordings import Recordings
from tts_client.request import (
    SpeechOptions,
    build_delete_voice,
    build_get_voice,
    build_list_voices,
    build_request,
    for_file,
)
from tts_client.server_info import ServerInfo
from tts_client.speech_events import AudioFrame, Header, Summary
from tts_client.status import to_tts_error
from tts_client.stream_check import StreamCheck
from tts_client.tls import Tls
from tts_client.upload import OnProgress
from tts_client.voice import Consent, UploadedVoice, Voice

Response = TypeVar("Response")


class AsyncSpeech:
    """One synthesis under way: an asynchronous iterator of audio frames.

    The end of the iteration is the proof that all frames came unaltered. Whatever else happens is
    raised as a `TtsError`, also in place of the next frame. Leave it by an `async with` statement
    or by `cancel()` if it may not be read to its end. One task reads; any task may cancel.
    """

    def __init__(
        self,
        call: grpc.aio.UnaryStreamCall[pb.SynthesizeRequest, pb.SynthesizeResponse],
        request_id: str,
    ) -> None:
        self._call = call
        self._check = StreamCheck(request_id)

    async def header(self) -> Header:
        """What the stream is going to be. Waits for the first event."""
        while self._check.header is None:
            await self._advance()
        return self._check.header

    @property
    def summary(self) -> Summary:
        """How it went. Raises `RuntimeError` before the iteration has ended."""
        return self._check.final_summary

    async def read(self) -> bytes:
        """The bytes of all frames that have not been read yet, joined.

        From the start, they are one valid file, unless the encoding is OPUS_PACKETS.
        """
        return b"".join([frame.data async for frame in self])

    def cancel(self) -> None:
        """Gives the synthesis up. The server stops speaking. Does nothing after the end."""
        self._call.cancel()

    def __aiter__(self) -> AsyncIterator[AudioFrame]:
        return self

    async def __anext__(self) -> AudioFrame:
        while True:
            frame = await self._advance()
            if frame is not None:
                return frame

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.cancel()

    async def _advance(self) -> AudioFrame | None:
        """Takes the next event in. Raises StopAsyncIteration at the verified end."""
        response = await _translated(self._call.read(), self._check.request_id)
        if not isinstance(response, pb.SynthesizeResponse):
            self._check.end()
            raise StopAsyncIteration
        try:
            return self._check.accept(response)
        except CorruptStream:
            self._call.cancel()
            raise


class AsyncClient:
    """A connection to one server, shared by any number of calls of one event loop.

    Make it inside the running loop. Close it, or use it in an `async with` statement; what is
    still under way is cancelled then. All methods raise `TtsError`.
    """

    def __init__(
        self,
        address: str = "127.0.0.1:50051",
        *,
        token: str | None = None,
        tls: Tls | bool = False,
        credentials: grpc.ChannelCredentials | None = None,
        retry: RetryPolicy | None = None,
        timeout_s: float | None = 300.0,
    ) -> None:
        """Connects with the first call. See `Client` for the arguments."""
        connection = Connection.make(
            address, tls=tls, token=token, credentials=credentials, retry=retry or RetryPolicy()
        )
        self._channel = connection.open_async()
        self._caller = connection.metadata
        self._stub = TextToSpeechStub(self._channel)
        self._timeout_s = timeout_s
        self._under_way: weakref.WeakSet[AsyncSpeech] = weakref.WeakSet()
        self._uploads: set[Client] = set()
        self._uploader = functools.partial(
            Client,
            address,
            token=token,
            tls=tls,
            credentials=credentials,
            retry=retry,
            timeout_s=timeout_s,
        )

    def synthesize(
        self,
        text: str,
        *,
        timeout_s: float | None = None,
        request_id: str | None = None,
        **options: Unpack[SpeechOptions],
    ) -> AsyncSpeech:
        """Speaks `text`. Returns at once; errors arrive with the first event.

        See `Client.synthesize` for the arguments.
        """
        call = Call.make(request_id, timeout_s, self._timeout_s, self._caller)
        request = build_request(text, **options)
        stream = self._stub.Synthesize(request, timeout=call.timeout_s, metadata=call.metadata)
        speech = AsyncSpeech(stream, call.request_id)
        self._under_way.add(speech)
        return speech

    async def save(
        self,
        text: str,
        path: str | PathLike[str],
        *,
        timeout_s: float | None = None,
        request_id: str | None = None,
        **options: Unpack[SpeechOptions],
    ) -> Summary:
        """Speaks `text` into a file, as `Client.save` does."""
        options = for_file(path, options)
        with PartialFile(Path(path)) as file:
            async with self.synthesize(
                text, timeout_s=timeout_s, request_id=request_id, **options
            ) as speech:
                async for frame in speech:
                    file.write(frame.data)
                if speech.summary.has_audio:
                    # It waits for the disk.
                    await asyncio.to_thread(file.commit, speech.summary.sample_count)
                return speech.summary

    async def voices(self, *, language: str = "", engine: str = "") -> AsyncIterator[Voice]:
        """All voices by id, fetched page by page; `language` `en` finds `en-US` too."""
        request = build_list_voices(language, engine)
        while True:
            page = await self._call(self._stub.ListVoices, request)
            for voice in page.voices:
                yield Voice.from_proto(voice)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def voice(self, voice: str) -> Voice:
        """The voice of this id. Raises `NotFound`."""
        response = await self._call(self._stub.GetVoice, build_get_voice(voice))
        return Voice.from_proto(response.voice)

    async def upload_voice(
        self,
        recordings: Recordings,
        *,
        name: str,
        language: str,
        voice_id: str = "",
        consent: Consent | None = None,
        request_id: str | None = None,
        timeout_s: float | None = None,
        on_progress: OnProgress | None = None,
    ) -> UploadedVoice:
        """Stores a voice from recordings, as `Client.upload_voice` does.

        on_progress: called by the event loop, which also takes what it raises. To give the upload
            up, cancel the task.
        """
        loop = asyncio.get_running_loop()
        # A synchronous client in a thread of its own: grpc.aio loses the status of a server that
        # ends a call while the client is writing (https://github.com/grpc/grpc/issues/36066), as
        # with every upload that is refused. The thread also does the waiting for the disk.
        client = self._uploader()
        thread = ThreadPoolExecutor(1, thread_name_prefix="tts-upload")

        def report(sent_bytes: int, total_bytes: int) -> None:
            if on_progress is not None:
                loop.call_soon_threadsafe(on_progress, sent_bytes, total_bytes)

        work = functools.partial(
            client.upload_voice,
            recordings,
            name=name,
            language=language,
            voice_id=voice_id,
            consent=consent,
            request_id=request_id,
            timeout_s=timeout_s,
            on_progress=report,
        )
        self._uploads.add(client)
        try:
            return await loop.run_in_executor(thread, work)
        finally:
            self._uploads.discard(client)
            client.close()
            thread.shutdown(wait=False)

    async def delete_voice(self, voice: str) -> None:
        """Deletes an uploaded voice, as `Client.delete_voice` does."""
        await self._call(self._stub.DeleteVoice, build_delete_voice(voice))

    async def server_info(self) -> ServerInfo:
        """What the server is and can do."""
        response = await self._call(self._stub.GetServerInfo, pb.GetServerInfoRequest())
        return ServerInfo.from_proto(response)

    async def close(self) -> None:
        """Cancels what is under way and closes the connection."""
        # The channel itself only finds calls that some task is waiting for at this moment.
        for speech in tuple(self._under_way):
            speech.cancel()
        for uploader in tuple(self._uploads):
            uploader.close()
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def _call(self, method: Callable[..., Awaitable[Response]], request: object) -> Response:
        call = Call.make(None, None, self._timeout_s, self._caller)
        pending = method(request, timeout=call.timeout_s, metadata=call.metadata)
        return await _translated(pending, call.request_id)


async def _translated(pending: Awaitable[Response], request_id: str) -> Response:
    """Awaits what grpc.aio hands out, and raises `TtsError` in place of its errors."""
    try:
        return await pending
    except grpc.RpcError as error:
        raise to_tts_error(error, request_id) from error
    except asyncio.CancelledError:
        # grpc.aio reports a call that was cancelled, or whose channel was closed, as if the task
        # that waits for it were being cancelled. Only a task that truly is may see that.
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise Cancelled("the call was cancelled", request_id=request_id) from None
