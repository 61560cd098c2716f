"""The methods of `tts.v1.TextToSpeech`."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc.aio
import langcodes
import structlog

from audio_codec import FORMATS
from protos.tts.v1 import tts_pb2, tts_pb2_grpc

from .. import __version__
from ..config import Settings
from ..errors import InvalidRequest, Violation
from ..fleet import Fleet
from ..synthesis import MAX_SPEED, MIN_SPEED, Summary, Synthesizer, resolve_request
from . import convert
from .boundary import current_request_id

__all__ = ["TextToSpeechServicer"]

_DEFAULT_PAGE_SIZE = 100
_MAX_PAGE_SIZE = 1000

_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class TextToSpeechServicer(tts_pb2_grpc.TextToSpeechServicer):
    """Answers from the fleet's voices and speaks through the synthesizer."""

    def __init__(self, settings: Settings, fleet: Fleet, synthesizer: Synthesizer) -> None:
        self._settings = settings
        self._fleet = fleet
        self._synthesizer = synthesizer

    async def Synthesize(
        self, request: tts_pb2.SynthesizeRequest, context: _Context
    ) -> AsyncIterator[tts_pb2.SynthesizeResponse]:
        """See the contract."""
        asked = convert.synthesis_request(request)
        await self._fleet.wait_for_voices(self._settings.engine_wait_s)
        utterance = resolve_request(
            asked,
            self._fleet.catalog,
            default_voice=self._default_voice(),
            max_text_characters=self._settings.max_text_characters,
        )
        structlog.contextvars.bind_contextvars(
            voice=utterance.voice.id,
            encoding=utterance.audio_format.encoding.value,
            characters=utterance.character_count,
        )
        events = self._synthesizer.synthesize(
            utterance, request_id=current_request_id(), timeout_s=context.time_remaining()
        )
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Summary):
                    structlog.contextvars.bind_contextvars(
                        audio_ms=event.audio_ms, first_audio_ms=round(event.first_audio_ms, 1)
                    )
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
        if request.language and not langcodes.tag_is_valid(request.language):
            raise InvalidRequest(Violation("language", "is not a valid BCP-47 tag"))
        await self._fleet.wait_for_voices(self._settings.engine_wait_s)
        voices = self._fleet.catalog.select(
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
        if not request.voice:
            raise InvalidRequest(Violation("voice", "is required"))
        await self._fleet.wait_for_voices(self._settings.engine_wait_s)
        voice = self._fleet.catalog.get(request.voice)
        return tts_pb2.GetVoiceResponse(voice=convert.voice_to_proto(voice))

    async def GetServerInfo(
        self, request: tts_pb2.GetServerInfoRequest, context: _Context
    ) -> tts_pb2.GetServerInfoResponse:
        """See the contract."""
        return tts_pb2.GetServerInfoResponse(
            version=__version__,
            default_voice=self._default_voice(),
            engines=[convert.engine_info(engine) for engine in self._fleet.engines],
            formats=[convert.format_info(spec) for spec in FORMATS.values()],
            limits=tts_pb2.Limits(
                max_text_characters=self._settings.max_text_characters,
                min_speed=MIN_SPEED,
                max_speed=MAX_SPEED,
            ),
        )

    def _default_voice(self) -> str:
        """The configured one, else the first voice of the first engine; "" if none is known."""
        if self._settings.default_voice:
            return self._settings.default_voice
        for engine in self._fleet.engines:
            if engine.description is not None and engine.description.voices:
                return engine.description.voices[0].id
        return ""
