"""Completion of voice ids: the shell asks, the server answers."""

import click
from click.shell_completion import CompletionItem

from tts_client.command.settings import Settings
from tts_client.errors import TtsError
from tts_client.voice import VoiceOrigin

_TIMEOUT_S = 1.0


def complete_voice(
    ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """The voices whose ids begin so; none when no server answers at once."""
    return _complete(ctx, incomplete, tuple(VoiceOrigin))


def complete_uploaded_voice(
    ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Of those, the ones that were uploaded."""
    return _complete(ctx, incomplete, (VoiceOrigin.UPLOADED,))


def _complete(
    ctx: click.Context, incomplete: str, origins: tuple[VoiceOrigin, ...]
) -> list[CompletionItem]:
    try:
        settings = Settings(**ctx.find_root().params)
        with settings.client(timeout_s=_TIMEOUT_S) as client:
            voices = list(client.voices())
    except (TtsError, OSError, click.UsageError):
        return []
    return [
        CompletionItem(voice.id, help=voice.display_name)
        for voice in voices
        if voice.id.startswith(incomplete) and voice.origin in origins
    ]
