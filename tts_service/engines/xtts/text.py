"""From text to the model's tokens: languages, what they need, and endings that don't ramble."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from types import MappingProxyType

import regex
import structlog
from TTS.tts.layers.xtts.tokenizer import VoiceBpeTokenizer

from ..base import NotPossibleError

__all__ = ["LANGUAGES", "EncodedText", "Language", "TextEncoder", "tidy"]


@dataclass(frozen=True, slots=True)
class Language:
    """A language that XTTS v2 speaks.

    Attributes:
        code: upstream's name.
        max_characters: what the model was trained to say in one go (upstream's `char_limits`).
        package: what must be installed beside coqui-tts to read it; "" for nothing.
        extra: of coqui-tts, that brings the package.
    """

    code: str
    max_characters: int
    package: str = ""
    extra: str = ""

    @property
    def is_installed(self) -> bool:
        """Whether text of this language can be read here."""
        return not self.package or find_spec(self.package) is not None


# By BCP-47 tag.
LANGUAGES: Mapping[str, Language] = MappingProxyType(
    {
        "en": Language("en", 250),
        "es": Language("es", 239),
        "fr": Language("fr", 273),
        "de": Language("de", 253),
        "it": Language("it", 213),
        "pt": Language("pt", 203),
        "pl": Language("pl", 224),
        "tr": Language("tr", 226),
        "ru": Language("ru", 182),
        "nl": Language("nl", 251),
        "cs": Language("cs", 186),
        "ar": Language("ar", 166),
        "zh-CN": Language("zh", 82, package="pypinyin", extra="zh"),
        "hu": Language("hu", 224),
        "ko": Language("ko", 95),
        "ja": Language("ja", 71, package="cutlet", extra="ja"),
        "hi": Language("hi", 150),
    }
)

_OPENING = regex.compile(r"^[\s\"'«»“”„‟‘’‚‹›「『（【《〈〔(\[{*_–—-]+")
_CLOSING = regex.compile(r"[\s\"'«»“”„‟‘’‚‹›」』）】》〉〕)\]}*_–—,;:،؛，、；：-]+$")
_NUMBER_AND_MARK = regex.compile(r"\d[.!?…。！？।؟]$")
_ORDINAL = regex.compile(r"(?<=\d)\.(?=\s|$)")
# What num2words raises for numbers that it has no words for.
_UNREADABLE = (NotImplementedError, ArithmeticError, ValueError, LookupError, RecursionError)

_ROUND = str.maketrans("[]", "()")
_ENDS_A_SENTENCE = regex.compile(r"[.!?…。！？।؟]$")


@dataclass(frozen=True, slots=True)
class EncodedText:
    """A text as the model reads it.

    Attributes:
        tokens: without start and stop.
        characters: of the text after numbers and abbreviations were spelled out.
    """

    tokens: list[int]
    characters: int


class TextEncoder:
    """Upstream's tokenizer behind checks. Safe to use from many threads.

    Args:
        max_tokens: the model takes fewer than this.
    """

    def __init__(self, tokenizer: VoiceBpeTokenizer, max_tokens: int) -> None:
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens

    def encode(self, text: str, tag: str) -> EncodedText:
        """Reads a text.

        Args:
            tag: one of `LANGUAGES`.

        Raises:
            NotPossibleError: the language's package isn't installed, or the text is too long
                once its numbers are spelled out.
        """
        language = LANGUAGES.get(tag)
        if language is None:
            raise NotPossibleError(f"XTTS does not speak {tag!r}; it speaks {', '.join(LANGUAGES)}")
        if not language.is_installed:
            raise NotPossibleError(
                f"to read {tag!r} the server needs the package {language.package}; "
                f"install it there with: pip install 'coqui-tts[{language.extra}]'"
            )
        # Upstream's cleaner knows "İ" alone, of which `lower` makes an "i" and another dot.
        spelled = self._spell_out(tidy(text).replace("İ", "i").lower(), language.code)
        prefix = "zh-cn" if language.code == "zh" else language.code
        marked = f"[{prefix}]{spelled}".replace(" ", "[SPACE]")
        tokens = self._tokenizer.tokenizer.encode(marked).ids
        if len(tokens) >= self._max_tokens:
            raise NotPossibleError(
                f"a sentence becomes {len(tokens)} tokens once its numbers and symbols are "
                f"spelled out; XTTS takes fewer than {self._max_tokens}: divide it"
            )
        return EncodedText(tokens, len(spelled))

    def _spell_out(self, text: str, code: str) -> str:
        """Returns a text without numerals and symbols, as the model was trained on."""
        body, mark = text, ""
        if _NUMBER_AND_MARK.search(text):
            # Upstream would read "5." at a sentence's end as "fifth".
            body, mark = text[:-1], text[-1]
        try:
            return f"{self._tokenizer.preprocess_text(body, code)}{mark}"
        except _UNREADABLE:
            # Some languages have no ordinals there: "1. ledna" is read as "1 ledna".
            body = _ORDINAL.sub("", body)
        try:
            return f"{self._tokenizer.preprocess_text(body, code)}{mark}"
        except _UNREADABLE as error:
            raise NotPossibleError(
                "the numbers of a sentence can't be spelled out; write them in words"
            ) from error

    def warm_up(self) -> None:
        """Reads a word of each language that can be read, which loads dictionaries."""
        for tag, language in LANGUAGES.items():
            if language.is_installed:
                self.encode("a", tag)
            else:
                structlog.get_logger().info(
                    "language can't be read", language=tag, missing=language.package
                )


def tidy(text: str) -> str:
    """Returns a text that begins with a word and ends a sentence.

    Behind a closing quote, a dash or no mark at all the model is known to speak on. Brackets become
    round: "[it]" is what tells the model that Italian follows.
    """
    text = text.translate(_ROUND)
    tidied = _CLOSING.sub("", _OPENING.sub("", text)) or text.strip()
    return tidied if _ENDS_A_SENTENCE.search(tidied) else f"{tidied}."
