"""Client of the speech service `tts.v1.TextToSpeech`.

    from tts_client import Client

    with Client("127.0.0.1:50051") as client:
        client.save("Hello there.", "hello.mp3")

        for frame in client.synthesize("Plays while it is made.", format="wav"):
            speaker.write(frame.data)

        client.upload_voice("me.wav", name="Me", language="en-US", voice_id="me")

    with Client("tts.example:443", tls=True, token=token) as client:
        ...

`AsyncClient` does the same for asyncio. Every failure is a `TtsError`; see `tts_client.errors`.
"""

from tts_client.aio import AsyncClient, AsyncSpeech
from tts_client.cache import CacheMode, CacheStatus
from tts_client.channel import RetryPolicy
from tts_client.client import Client, Speech
from tts_client.encoding import Encoding
from tts_client.errors import (
    AlreadyExists,
    Cancelled,
    CorruptStream,
    DeadlineExceeded,
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    NotCached,
    NotFound,
    Overloaded,
    PermissionDenied,
    ServerError,
    StreamError,
    TruncatedStream,
    TtsError,
    Unauthenticated,
    Unavailable,
)
from tts_client.recordings import Recordings
from tts_client.request import SpeechOptions
from tts_client.server_info import (
    EngineInfo,
    EngineState,
    FormatInfo,
    Limits,
    ServerInfo,
)
from tts_client.speech_events import (
    AudioFormat,
    AudioFrame,
    Completion,
    Header,
    Summary,
    TextSpan,
)
from tts_client.tls import Tls
from tts_client.voice import (
    Consent,
    QualityReport,
    QualityWarning,
    UploadedVoice,
    Voice,
    VoiceOrigin,
)

__all__ = [
    "AlreadyExists",
    "AsyncClient",
    "AsyncSpeech",
    "AudioFormat",
    "AudioFrame",
    "CacheMode",
    "CacheStatus",
    "Cancelled",
    "Client",
    "Completion",
    "Consent",
    "CorruptStream",
    "DeadlineExceeded",
    "Encoding",
    "EngineInfo",
    "EngineState",
    "FailedPrecondition",
    "FieldViolation",
    "FormatInfo",
    "Header",
    "InvalidArgument",
    "Limits",
    "NotCached",
    "NotFound",
    "Overloaded",
    "PermissionDenied",
    "QualityReport",
    "QualityWarning",
    "Recordings",
    "RetryPolicy",
    "ServerError",
    "ServerInfo",
    "Speech",
    "SpeechOptions",
    "StreamError",
    "Summary",
    "TextSpan",
    "Tls",
    "TruncatedStream",
    "TtsError",
    "Unauthenticated",
    "Unavailable",
    "UploadedVoice",
    "Voice",
    "VoiceOrigin",
]
