"""Programs that play audio, and what each can be given."""

import shutil
from dataclasses import dataclass

from tts_client.command.failures import Failure
from tts_client.encoding import Encoding

_CONTAINERS = (
    Encoding.WAV,
    Encoding.MP3,
    Encoding.FLAC,
    Encoding.OGG_OPUS,
    Encoding.WEBM_OPUS,
    Encoding.AAC_ADTS,
)


@dataclass(frozen=True, slots=True)
class Player:
    """A program that plays.

    encodings: what it understands, the one that suits it best first.
    arguments: its command line; {rate} stands for the sample rate, {file} for the file to play.
        A program without {file} plays its standard input while it comes.
    """

    program: str
    encodings: tuple[Encoding, ...]
    arguments: tuple[str, ...]

    @property
    def needs_file(self) -> bool:
        """Whether it can only play what is complete."""
        return "{file}" in self.arguments

    def command_line(self, sample_rate_hz: int, file: str) -> list[str]:
        """The words to start it with."""
        words = (word.format(rate=sample_rate_hz, file=file) for word in self.arguments)
        return [self.program, *words]


PLAYERS = (
    Player("ffplay", _CONTAINERS, ("-nodisp", "-autoexit", "-loglevel", "error", "-i", "-")),
    Player("mpv", _CONTAINERS, ("--no-video", "--no-terminal", "-")),
    Player("mpg123", (Encoding.MP3,), ("-q", "-")),
    Player("aplay", (Encoding.WAV,), ("-q", "-")),
    Player("play", (Encoding.WAV,), ("-q", "-t", "wav", "-")),
    Player(
        "paplay",
        (Encoding.PCM_S16LE,),
        ("--raw", "--format=s16le", "--channels=1", "--rate={rate}"),
    ),
    Player("afplay", (Encoding.MP3, Encoding.WAV), ("{file}",)),
)


def find_player(encoding: Encoding | None) -> Player:
    """The first player that is installed and plays `encoding`, if one is asked for.

    Raises `Failure` when there is none.
    """
    installed = [player for player in PLAYERS if shutil.which(player.program)]
    for player in installed:
        if encoding is None or encoding in player.encodings:
            return player
    if installed:
        names = ", ".join(player.program for player in installed)
        raise Failure(f"No player here plays {encoding} while it comes; found {names}.")
    names = ", ".join(player.program for player in PLAYERS)
    raise Failure(
        f"No audio player found; looked for {names}.\nWrite a file instead: -o speech.mp3"
    )
