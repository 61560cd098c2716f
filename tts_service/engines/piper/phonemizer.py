"""From a text to the phonemes of a Piper voice, in the voice's own numbering."""

from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import regex
from piper import PhonemeType, PiperConfig, PiperVoice, espeakbridge

from ...text import soften_inner_stops
from ..base import NotPossibleError
from .voices import VoiceFile

__all__ = ["Phonemizer", "require_readable"]

# By how a voice's text is read: what piper-tts imports for it, and its extra that brings that.
_PACKAGES = {
    PhonemeType.PINYIN: ("unicode_rbnf", "zh"),
    PhonemeType.JAPANESE: ("pyopenjtalk", "ja"),
    PhonemeType.THAI: ("tltk", "th"),
}
# Of pinyin, beside the voice. piper-tts would fetch it while somebody waits, for as long as it
# takes, into the working folder.
_PINYIN_MODEL = Path("g2pW") / "g2pw.onnx"

# "[[" begins raw phonemes, which is Piper's own notation and not plain text.
_RAW_PHONEMES = regex.compile(r"\[(?=\[)")


def require_readable(file: VoiceFile) -> None:
    """Sees to it that what reads texts for a voice is there.

    Raises:
        NotPossibleError: something isn't; the text says what.
    """
    kind = PhonemeType(file.config.get("phoneme_type", PhonemeType.ESPEAK))
    package, extra = _PACKAGES.get(kind, ("", ""))
    if package and find_spec(package) is None:
        raise NotPossibleError(
            f"to read texts for {file.name!r} the server needs the package {package}; install it "
            f"there with: pip install 'piper-tts[{extra}]'"
        )
    if kind is PhonemeType.PINYIN and not (file.model.parent / _PINYIN_MODEL).is_file():
        raise NotPossibleError(
            f"to read texts for {file.name!r} the server needs the model g2pW, unpacked in the "
            f"folder {_PINYIN_MODEL.parent} beside the voice"
        )


class Phonemizer:
    """piper-tts's, for texts that are nothing but text. Safe to use from many threads."""

    def __init__(self, file: VoiceFile) -> None:
        _set_no_voice_twice()
        self.config = PiperConfig.from_dict(file.config)
        # Phonemes need no session; what speaks is ours.
        self._voice = PiperVoice(
            session=None,  # type: ignore[arg-type]
            config=self.config,
            download_dir=file.model.parent,
        )

    def sentences(self, text: str, language: str) -> list[list[int]]:
        """The numbers of the phonemes of each sentence that is found in a text."""
        # eSpeak ends a sentence at every stop before a capital, in "Dr. Smith" too.
        text = soften_inner_stops(text, language)
        text = _RAW_PHONEMES.sub("[ ", text)
        sentences = filter(None, self._voice.phonemize(text))
        return [self._voice.phonemes_to_ids(list(self._known(sentence))) for sentence in sentences]

    def _known(self, phonemes: list[str]) -> Iterator[str]:
        """The phonemes; small letters where a voice that reads letters has no capital ones."""
        known = self.config.phoneme_id_map
        for phoneme in phonemes:
            small = phoneme.casefold()
            if phoneme not in known and all(letter in known for letter in small):
                yield from small
            else:
                yield phoneme


@cache
def _set_no_voice_twice() -> None:
    """Has eSpeak told of a voice only when it is another one than before.

    piper-tts sets the voice for each text. eSpeak copies it then, 1.3 kB, for the sound that is to
    come, which nobody has it make here: the copies would stay (`DoVoiceChange` in its `speech.c`).
    """
    set_voice = espeakbridge.set_voice
    current = ""

    def set_other_voice(voice: str) -> None:
        # piper-tts holds a lock around this.
        nonlocal current
        if voice != current:
            current = ""
            set_voice(voice)
            current = voice

    espeakbridge.set_voice = set_other_voice
