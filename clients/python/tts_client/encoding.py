"""Audio encodings, and the names and file suffixes by which people call them."""

import enum
from pathlib import PurePath

from tts_client.errors import InvalidArgument


class ContractEnum(enum.Enum):
    """An enum of the contract. Its values are the contract's numbers.

    A number from a newer server, unknown here, becomes member 0. `str()` gives the name in small
    letters.
    """

    @classmethod
    def _missing_(cls, value: object) -> "ContractEnum | None":
        return cls(0) if isinstance(value, int) and value != 0 else None

    def __str__(self) -> str:
        return self.name.lower()


class Encoding(ContractEnum):
    """How audio is encoded; always mono. UNSPECIFIED asks for the server's default, MP3."""

    UNSPECIFIED = 0
    PCM_S16LE = 1
    WAV = 2
    MP3 = 3
    OGG_OPUS = 4
    FLAC = 5
    AAC_ADTS = 6
    MULAW = 7
    ALAW = 8
    OPUS_PACKETS = 9
    WEBM_OPUS = 10

    @property
    def makes_file(self) -> bool:
        """Whether the frames of a stream, joined, are a file."""
        return self is not Encoding.OPUS_PACKETS

    @classmethod
    def parse(cls, name: str) -> "Encoding":
        """The encoding of a name such as `mp3`, `opus` or `pcm_s16le`.

        Raises `InvalidArgument` with the choices.
        """
        wanted = name.strip().lower().replace("-", "_")
        for encoding in cls:
            if wanted in (str(encoding), *_ALIASES.get(encoding, ())):
                return encoding
        choices = ", ".join(FILE_FORMAT_NAMES)
        raise InvalidArgument.of_field(
            "format.encoding", f"there is no format {name!r}; the choices are {choices}"
        )

    @classmethod
    def of_path(cls, path: PurePath) -> "Encoding":
        """The encoding that a file's suffix stands for.

        Raises `InvalidArgument` when the suffix says nothing.
        """
        suffix = path.suffix.lower().removeprefix(".")
        for encoding, suffixes in _SUFFIXES.items():
            if suffix in suffixes:
                return encoding
        raise InvalidArgument.of_field(
            "format.encoding", f"the name {path.name!r} does not tell the format; name one"
        )


# What people are shown: one short name for each encoding that makes a file.
FILE_FORMAT_NAMES = ("mp3", "wav", "opus", "flac", "aac", "webm", "pcm", "mulaw", "alaw")

_ALIASES = {
    Encoding.PCM_S16LE: ("pcm",),
    Encoding.OGG_OPUS: ("opus", "ogg"),
    Encoding.AAC_ADTS: ("aac",),
    Encoding.MULAW: ("ulaw",),
    Encoding.WEBM_OPUS: ("webm",),
}

# Not m4a: it is a container of its own around the same codec.
_SUFFIXES = {
    Encoding.PCM_S16LE: ("pcm", "raw"),
    Encoding.WAV: ("wav", "wave"),
    Encoding.MP3: ("mp3",),
    Encoding.OGG_OPUS: ("opus", "ogg", "oga"),
    Encoding.FLAC: ("flac",),
    Encoding.AAC_ADTS: ("aac",),
    Encoding.MULAW: ("ulaw", "mulaw", "ul"),
    Encoding.ALAW: ("alaw", "al"),
    Encoding.WEBM_OPUS: ("webm", "weba"),
}
