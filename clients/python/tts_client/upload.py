"""One upload of a voice: its messages, and the sending of them."""

import threading
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass

import grpc

from protos.tts.v1 import tts_pb2 as pb
from protos.tts.v1.tts_pb2_grpc import TextToSpeechStub
from tts_client.attempts import Attempts
from tts_client.call import Call
from tts_client.channel import RetryPolicy
from tts_client.errors import Cancelled
from tts_client.outbox import Outbox
from tts_client.recordings import RecordingFile, Recordings, find_recordings
from tts_client.request import build_recording, build_voice_metadata
from tts_client.status import to_tts_error
from tts_client.voice import Consent

OnProgress = Callable[[int, int], object]

# The contract allows 1 MiB. Smaller pieces make a finer progress, and less is in vain when the
# server refuses.
_PIECE_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Upload:
    """What is to be sent. It can be sent any number of times."""

    metadata: pb.VoiceMetadata
    recordings: tuple[RecordingFile, ...]

    @classmethod
    def make(
        cls,
        recordings: Recordings,
        *,
        name: str,
        language: str,
        voice_id: str,
        consent: Consent | None,
        request_id: str,
    ) -> "Upload":
        """Checks what can be checked here: raises `InvalidArgument`, or `OSError` for a file."""
        metadata = build_voice_metadata(
            name=name, language=language, voice_id=voice_id, request_id=request_id, consent=consent
        )
        found = find_recordings(recordings)
        for recording in found:
            build_recording(recording.style)
        return cls(metadata, found)

    @property
    def total_bytes(self) -> int:
        """Bytes of all recordings, as they were when they were found."""
        return sum(recording.size_bytes for recording in self.recordings)

    def messages(self) -> Generator[pb.UploadVoiceRequest]:
        """The messages in their order. Each file is open only while its bytes are taken.

        Raises `OSError` where a file cannot be read any more.
        """
        yield pb.UploadVoiceRequest(metadata=self.metadata)
        for recording in self.recordings:
            yield pb.UploadVoiceRequest(recording=build_recording(recording.style))
            with recording.path.open("rb") as file:
                while data := file.read(_PIECE_BYTES):
                    yield pb.UploadVoiceRequest(data=data)


def send_upload(
    stub: TextToSpeechStub,
    upload: Upload,
    call: Call,
    *,
    retry: RetryPolicy,
    closed: threading.Event,
    on_progress: OnProgress | None,
) -> pb.UploadVoiceResponse:
    """Sends `upload`, and sends it again as a whole while `retry` allows it.

    closed: set when the client is closed, which ends a wait between two attempts.

    Raises `TtsError`, `OSError` where a file cannot be read, and whatever `on_progress` raises.
    """
    attempts = Attempts(retry, call.timeout_s)
    while not closed.is_set():
        try:
            return _send_once(stub, upload, call, attempts.remaining_s, on_progress)
        except grpc.RpcError as error:
            wait_s = attempts.wait_s(error)
            if wait_s is None:
                raise to_tts_error(error, call.request_id) from error
        closed.wait(wait_s)
    raise Cancelled("the client was closed", request_id=call.request_id)


def _send_once(
    stub: TextToSpeechStub,
    upload: Upload,
    call: Call,
    timeout_s: float | None,
    on_progress: OnProgress | None,
) -> pb.UploadVoiceResponse:
    outbox: Outbox[pb.UploadVoiceRequest] = Outbox()
    pending = stub.UploadVoice.future(outbox, timeout=timeout_s, metadata=call.metadata)
    try:
        # A server that has seen enough ends the call before everything is sent.
        pending.add_done_callback(lambda _call: outbox.close())
        sent_bytes = 0
        with closing(upload.messages()) as messages:
            for message in messages:
                if not outbox.put(message):
                    break
                sent_bytes += len(message.data)
                if on_progress is not None:
                    on_progress(sent_bytes, upload.total_bytes)
        outbox.close()
        return pending.result()
    finally:
        # In this order: an outbox that ends on a call still open would pass for a whole upload.
        pending.cancel()
        outbox.close()
