"""The methods of `tts.v1.TextToSpeech`."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc.aio
import structlog

from audio_codec import FORMATS
from protos.tts.v1 import tts_pb2, tts_pb2_grpc

from .. import __version__
from ..admission import Admission, Caller
from ..config import Settings
from ..errors import InvalidRequest, Violation
from ..fleet import Fleet
from ..ops.metrics import UploadMetrics
from ..ops.tracing import current_span
from ..synthesis import (
    MAX_SPEED,
    MAX_VOICE_CHARACTERS,
    MIN_SPEED,
    Header,
    Summary,
    Synthesizer,
    resolve_request,
)
from ..text import is_language
from ..voices import Catalog, VoiceDirectory, VoiceUploads
from . import convert
from .call import current_call

__all__ = ["TextToSpeechServicer"]

_DEFAULT_PAGE_SIZE = 100
_MAX_PAGE_SIZE = 1000
_MAX_TOKEN_CHARACTERS = 1024

_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class TextToSpeechServicer(tts_pb2_grpc.TextToSpeechServicer):
    """Answers from the directory, speaks through the synthesizer, stores through the uploads."""

    def __init__(
        self,
        settings: Settings,
        fleet: Fleet,
        directory: VoiceDirectory,
        synthesizer: Synthesizer,
        uploads: VoiceUploads,
        admission: Admission,
        upload_metrics: UploadMetrics,
    ) -> None:
        self._settings = settings
        self._fleet = fleet
        self._directory = directory
        self._synthesizer = synthesizer
        self._uploads = uploads
        self._admission = admission
        self._upload_metrics = upload_metrics

    async def Synthesize(
        self, request: tts_pb2.SynthesizeRequest, context: _Context
    ) -> AsyncIterator[tts_pb2.SynthesizeResponse]:
        """See the contract."""
        asked, mode = convert.synthesis_request(request), convert.cache_mode(request)
        default_voice = "" if asked.voice_ids else await self._default_voice()
        catalog = await self._catalog_with(*(asked.voice_ids or (default_voice,)))
        with current_span().child("plan"):
            utterance = resolve_request(
                asked,
                catalog,
                default_voice=default_voice,
                max_text_characters=self._settings.max_text_characters,
            )
        _bind(
            voice="+".join(part.voice.id for part in utterance.parts),
            encoding=utterance.audio_format.encoding.value,
            characters=utterance.character_count,
        )
        if self._settings.log_text:
            structlog.get_logger().info("text", text=asked.text)
        events = self._synthesizer.synthesize(
            utterance, mode, _caller(), arrived_s=current_call().arrived_s
        )
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Header):
                    _bind(cache=event.cache_status.value)
                elif isinstance(event, Summary):
                    _bind(audio_ms=event.audio_ms, first_audio_ms=round(event.first_audio_ms, 1))
                yield convert.event_to_proto(event)

    async def ListVoices(
        self, request: tts_pb2.ListVoicesRequest, context: _Context
    ) -> tts_pb2.ListVoicesResponse:
        """See the contract."""
        size = request.page_size or _DEFAULT_PAGE_SIZE
        if not 1 <= size <= _MAX_PAGE_SIZE:
            raise InvalidRequest(
                Violation("page_size", f"is {size}; it must be 1 to {_MAX_PAGE_SIZE}")
            )
        if request.language and not is_language(request.language):
            raise InvalidRequest(Violation("language", "is not a valid BCP-47 tag"))
        if len(request.page_token) > _MAX_TOKEN_CHARACTERS:
            raise InvalidRequest(Violation("page_token", "is not a token that ListVoices returned"))
        if not self._fleet.is_any_described:
            await self._default_voice()
        voices = self._directory.catalog.select(
            language=request.language,
            engine=request.engine,
            after=convert.from_page_token(request.page_token),
        )
        page, more = voices[:size], len(voices) > size
        return tts_pb2.ListVoicesResponse(
            voices=[convert.voice_to_proto(voice) for voice in page],
            next_page_token=convert.to_page_token(page[-1].id) if more else "",
        )

    async def GetVoice(
        self, request: tts_pb2.GetVoiceRequest, context: _Context
    ) -> tts_pb2.GetVoiceResponse:
        """See the contract."""
        voice_id = _required_voice(request.voice)
        voice = (await self._catalog_with(voice_id)).get(voice_id)
        return tts_pb2.GetVoiceResponse(voice=convert.voice_to_proto(voice))

    async def UploadVoice(
        self, requests: AsyncIterator[tts_pb2.UploadVoiceRequest], context: _Context
    ) -> tts_pb2.UploadVoiceResponse:
        """See the contract."""
        # An upload is answered with its embedding, if any engine makes one.
        if self._directory.cloning_engine() is None:
            await self._fleet.wait_until_described(self._settings.engine_wait_s)
        self._admission.take_upload(_caller())
        with self._upload_metrics.measured() as upload:
            voice, already = await self._uploads.upload(convert.upload_parts(requests))
            upload.result = "already_stored" if already else "stored"
        _bind(voice=voice.id)
        return tts_pb2.UploadVoiceResponse(
            voice=convert.voice_to_proto(voice), already_stored=already
        )

    async def DeleteVoice(
        self, request: tts_pb2.DeleteVoiceRequest, context: _Context
    ) -> tts_pb2.DeleteVoiceResponse:
        """See the contract."""
        voice_id = _required_voice(request.voice)
        await self._uploads.delete((await self._catalog_with(voice_id)).get(voice_id))
        _bind(voice=voice_id)
        return tts_pb2.DeleteVoiceResponse()

    async def GetServerInfo(
        self, request: tts_pb2.GetServerInfoRequest, context: _Context
    ) -> tts_pb2.GetServerInfoResponse:
        """See the contract."""
        default_voice = self._known_default_voice()
        return tts_pb2.GetServerInfoResponse(
            version=__version__,
            default_voice=default_voice if default_voice in self._directory.catalog else "",
            engines=[convert.engine_info(engine) for engine in self._fleet.engines],
            formats=[convert.format_info(spec) for spec in FORMATS.values()],
            limits=tts_pb2.Limits(
                max_text_characters=self._settings.max_text_characters,
                min_speed=MIN_SPEED,
                max_speed=MAX_SPEED,
                max_upload_bytes=self._settings.uploads.max_upload_bytes,
                consent_required=self._settings.uploads.consent_required,
            ),
        )

    async def _catalog_with(self, *voice_ids: str) -> Catalog:
        """The catalog, after waiting for the engines that may yet bring the voices."""
        if any(voice_id not in self._directory.catalog for voice_id in voice_ids):
            await self._fleet.wait_until_described(self._settings.engine_wait_s)
        return self._directory.catalog

    async def _default_voice(self) -> str:
        """The voice of requests that name none, after waiting for the engine that brings it."""
        if not self._known_default_voice():
            engine = self._fleet.engines[0].engine
            await self._fleet.connection(engine, self._settings.engine_wait_s)
        return self._known_default_voice()

    def _known_default_voice(self) -> str:
        """The configured one, else the first voice of the first engine; "" if there is none."""
        if self._settings.default_voice:
            return self._settings.default_voice
        description = self._fleet.engines[0].description
        return description.voices[0].id if description and description.voices else ""


def _caller() -> Caller:
    call = current_call()
    return Caller(call.identity, call.request_id, call.deadline_s)


def _bind(**facts: str | int | float) -> None:
    """Adds facts about the call to its log line and its span."""
    structlog.contextvars.bind_contextvars(**facts)
    current_span().note(**facts)


def _required_voice(voice_id: str) -> str:
    if not voice_id:
        raise InvalidRequest(Violation("voice", "is required"))
    if len(voice_id) > MAX_VOICE_CHARACTERS:
        raise InvalidRequest(
            Violation("voice", f"is longer than {MAX_VOICE_CHARACTERS} characters, as no id is")
        )
    return voice_id
