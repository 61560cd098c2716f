"""The synchronous client."""

import threading
from collections.abc import Callable, Iterator
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar, Unpack

import grpc

from protos.tts.v1 import tts_pb2 as pb
from protos.tts.v1.tts_pb2_grpc import TextToSpeechStub
from tts_client.call import Call
from tts_client.channel import RetryPolicy
from tts_client.connection import Connection
from tts_client.errors import CorruptStream
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
from tts_client.upload import OnProgress, Upload, send_upload
from tts_client.voice import Consent, UploadedVoice, Voice

Response = TypeVar("Response")


class Speech:
    """One synthesis under way: an iterator of audio frames.

    The end of the iteration is the proof that all frames came unaltered. Whatever else happens is
    raised as a `TtsError`, also in place of the next frame. Leave it by a `with` statement or by
    `cancel()` if it may not be read to its end. One thread reads; any thread may cancel.
    """

    def __init__(self, call: "grpc._CallIterator[pb.SynthesizeResponse]", request_id: str) -> None:
        self._call = call
        self._check = StreamCheck(request_id)

    @property
    def header(self) -> Header:
        """What the stream is going to be. Waits for the first event."""
        while self._check.header is None:
            self._advance()
        return self._check.header

    @property
    def summary(self) -> Summary:
        """How it went. Raises `RuntimeError` before the iteration has ended."""
        return self._check.final_summary

    def read(self) -> bytes:
        """The bytes of all frames that have not been read yet, joined.

        From the start, they are one valid file, unless the encoding is OPUS_PACKETS.
        """
        return b"".join(frame.data for frame in self)

    def cancel(self) -> None:
        """Gives the synthesis up. The server stops speaking. Does nothing after the end."""
        self._call.cancel()

    def __iter__(self) -> Iterator[AudioFrame]:
        return self

    def __next__(self) -> AudioFrame:
        while True:
            frame = self._advance()
            if frame is not None:
                return frame

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.cancel()

    def _advance(self) -> AudioFrame | None:
        """Takes the next event in. Raises StopIteration at the verified end."""
        try:
            response = next(self._call)
        except StopIteration:
            self._check.end()
            raise
        except grpc.RpcError as error:
            raise to_tts_error(error, self._check.request_id) from error
        try:
            return self._check.accept(response)
        except CorruptStream:
            self._call.cancel()
            raise


class Client:
    """A connection to one server, shared by any number of calls and threads.

    Close it, or use it in a `with` statement; what is still under way is cancelled then. All
    methods raise `TtsError`.
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
        """Connects with the first call.

        address: HOST:PORT, or any other gRPC target such as `unix:/run/tts.sock`.
        token: tells the server who calls. It needs TLS, but for this machine's own addresses.
        tls: True: TLS with a server whose certificate a public authority signed. `Tls` names other
            authorities, and a certificate of this client. False: in the clear.
        credentials: any others of gRPC's, in place of `tls`.
        retry: None stands for `RetryPolicy()`.
        timeout_s: limit for each call that brings none of its own; None: no limit.

        Raises `ValueError` for a token that would cross a network in the clear, and for arguments
        that do not go together; `OSError` for a file of `tls` that cannot be read.
        """
        self._retry = retry or RetryPolicy()
        connection = Connection.make(
            address, tls=tls, token=token, credentials=credentials, retry=self._retry
        )
        self._channel = connection.open()
        self._caller = connection.metadata
        self._stub = TextToSpeechStub(self._channel)
        self._timeout_s = timeout_s
        self._closed = threading.Event()

    def synthesize(
        self,
        text: str,
        *,
        timeout_s: float | None = None,
        request_id: str | None = None,
        **options: Unpack[SpeechOptions],
    ) -> Speech:
        """Speaks `text`. Returns at once; errors arrive with the first event.

        options: see `SpeechOptions`.
        timeout_s: limit for the whole stream, reading included; None: the client's; `math.inf`:
            no limit.
        request_id: names the call in the server's log; None: a random one.
        """
        call = Call.make(request_id, timeout_s, self._timeout_s, self._caller)
        request = build_request(text, **options)
        stream = self._stub.Synthesize(request, timeout=call.timeout_s, metadata=call.metadata)
        return Speech(stream, call.request_id)

    def save(
        self,
        text: str,
        path: str | PathLike[str],
        *,
        timeout_s: float | None = None,
        request_id: str | None = None,
        **options: Unpack[SpeechOptions],
    ) -> Summary:
        """Speaks `text` into a file, whose suffix tells the format if `format` does not.

        The file appears under its name only when all of it has come and been verified. No file is
        made when nothing in the text can be spoken (`Completion.NO_SPEAKABLE_TEXT`). Raises
        `OSError` when the file cannot be written. See `synthesize` for the arguments.
        """
        options = for_file(path, options)
        with (
            PartialFile(Path(path)) as file,
            self.synthesize(text, timeout_s=timeout_s, request_id=request_id, **options) as speech,
        ):
            for frame in speech:
                file.write(frame.data)
            if speech.summary.has_audio:
                file.commit(speech.summary.sample_count)
            return speech.summary

    def voices(self, *, language: str = "", engine: str = "") -> Iterator[Voice]:
        """All voices by id, fetched page by page; `language` `en` finds `en-US` too."""
        request = build_list_voices(language, engine)
        while True:
            page = self._call(self._stub.ListVoices, request)
            yield from map(Voice.from_proto, page.voices)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def voice(self, voice: str) -> Voice:
        """The voice of this id. Raises `NotFound`."""
        return Voice.from_proto(self._call(self._stub.GetVoice, build_get_voice(voice)).voice)

    def upload_voice(
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
        """Stores a voice from recordings, and returns it with the reports on their quality.

        recordings: the path of one file, several paths, or either by style:
            `{"neutral": "calm.wav", "cheerful": ["a.mp3", "b.mp3"]}`. Without a style: `neutral`.
        name: for people.
        language: BCP-47 tag of the language that is spoken in the recordings.
        voice_id: empty: the server makes one.
        consent: of the speaker; `Limits.consent_required` tells whether the server insists.
        request_id: names the call in the server's log, and makes it safe to repeat: a second
            upload with the same id answers with the voice that the first one stored. None: a
            random one, which covers the retries of this call.
        timeout_s: limit for all attempts together; as in `synthesize`.
        on_progress: called in this thread with the bytes sent so far and the bytes of all
            recordings. It starts at 0 again with each attempt. What it raises ends the upload.

        An upload that ends with UNAVAILABLE is sent again as a whole, as `RetryPolicy` says.
        Raises `AlreadyExists` for a `voice_id` that is taken, `InvalidArgument` with a `reason`
        for recordings that cannot be used, `OSError` for a file that cannot be read; if that is so
        from the beginning, then before anything is sent.
        """
        call = Call.make(request_id, timeout_s, self._timeout_s, self._caller)
        upload = Upload.make(
            recordings,
            name=name,
            language=language,
            voice_id=voice_id,
            consent=consent,
            request_id=call.request_id,
        )
        response = send_upload(
            self._stub,
            upload,
            call,
            retry=self._retry,
            closed=self._closed,
            on_progress=on_progress,
        )
        return UploadedVoice.from_proto(response)

    def delete_voice(self, voice: str) -> None:
        """Deletes an uploaded voice and all that was kept of it.

        Raises `NotFound`, and `FailedPrecondition` for a voice that came with an engine. When the
        answer to a deletion is lost, its retry finds the voice gone: `NotFound` too.
        """
        self._call(self._stub.DeleteVoice, build_delete_voice(voice))

    def server_info(self) -> ServerInfo:
        """What the server is and can do."""
        response = self._call(self._stub.GetServerInfo, pb.GetServerInfoRequest())
        return ServerInfo.from_proto(response)

    def close(self) -> None:
        """Cancels what is under way and closes the connection."""
        self._closed.set()
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _call(self, method: Callable[..., Response], request: object) -> Response:
        call = Call.make(None, None, self._timeout_s, self._caller)
        try:
            return method(request, timeout=call.timeout_s, metadata=call.metadata)
        except grpc.RpcError as error:
            raise to_tts_error(error, call.request_id) from error
