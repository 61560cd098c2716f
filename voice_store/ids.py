"""The ids of voices and the names of styles, which become names of files.

What is let through is safe on any file system: lower-case ASCII, so that no two names fall
together where case or accents don't count, without dots, and no name that Windows keeps for
a device.
"""

import re
import secrets
import unicodedata

from .errors import StyleNameError, VoiceIdError

__all__ = ["DEFAULT_STYLE", "new_voice_id", "parse_style", "parse_voice_id"]

DEFAULT_STYLE = "neutral"
"""The style of recordings that name none."""

_MAX_ID_CHARACTERS = 63
_VOICE_ID = re.compile(r"[a-z](?:-?[a-z0-9])*")
_MAX_STYLE_CHARACTERS = 32
_STYLE = re.compile(r"[a-z0-9-]+")

# learn.microsoft.com/windows/win32/fileio/naming-a-file, "Naming conventions".
_DEVICE_NAMES = frozenset(
    ["con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))]
)

_MAX_SLUG_CHARACTERS = 40
# Without vowels and look-alikes, so that chance spells no words and people can copy it.
_SUFFIX_ALPHABET = "bcdfghjkmnpqrstvwxz23456789"
_SUFFIX_CHARACTERS = 8


def parse_voice_id(text: str) -> str:
    """Returns the text if it is a voice's id.

    A lower-case ASCII letter, then up to 62 lower-case letters, digits and single hyphens,
    the last of them no hyphen.

    Raises:
        VoiceIdError: it is not; the message says what would be right.
    """
    if len(text) > _MAX_ID_CHARACTERS or not _VOICE_ID.fullmatch(text):
        raise VoiceIdError(
            "Must be a lower-case letter, then up to 62 lower-case letters, digits and single "
            "hyphens, the last of them no hyphen."
        )
    if text in _DEVICE_NAMES:
        raise VoiceIdError(f"{text} is the name of a device on some systems; choose another.")
    return text


def new_voice_id(display_name: str) -> str:
    """Makes an id: what ASCII letters and digits the name has, and 8 random characters.

    Accents are dropped: `Zoë` gives ids such as `zoe-7kq2mx4d`. A name without ASCII letters
    gives ids such as `voice-7kq2mx4d`.
    """
    ascii_name = unicodedata.normalize("NFKD", display_name).encode("ascii", "ignore").decode()
    words = re.findall(r"[a-z0-9]+", ascii_name.lower())
    slug = "-".join(words).lstrip("0123456789-")[:_MAX_SLUG_CHARACTERS].rstrip("-") or "voice"
    suffix = "".join(secrets.choice(_SUFFIX_ALPHABET) for _ in range(_SUFFIX_CHARACTERS))
    return parse_voice_id(f"{slug}-{suffix}")


def parse_style(text: str) -> str:
    """Returns the text if it is a style's name, and `DEFAULT_STYLE` for an empty one.

    Raises:
        StyleNameError: it is not; the message says what would be right.
    """
    if not text:
        return DEFAULT_STYLE
    if len(text) > _MAX_STYLE_CHARACTERS or not _STYLE.fullmatch(text):
        raise StyleNameError("Must be 1 to 32 lower-case letters, digits and hyphens.")
    return text
