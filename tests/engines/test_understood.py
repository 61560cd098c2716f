"""What the default voice says is understood, in every format that loses something."""

import pytest

from tests.engines.understood import (
    FORMATS,
    SENTENCES,
    Listener,
    decode,
    normalise,
    word_error_rate,
)
from tests.server_process import ServerProcess
from tests.speech import speak

# Of every kind some; `benchmarks/understood.py` speaks them all.
FEW = SENTENCES[::4]
# Piper draws its noise anew each time, and the rate of 90 words strays by some two points with it.
TAKES = 2


@pytest.fixture(scope="module")
def listener() -> Listener:
    return Listener()


@pytest.mark.parametrize("name", FORMATS)
def test_at_most_one_word_in_ten_is_misheard(
    speech_server: ServerProcess, listener: Listener, name: str
) -> None:
    hearings = []
    with speech_server.stub() as stub:
        for sentence in FEW * TAKES:
            speech = speak(stub, text=sentence, format=FORMATS[name])
            hearings.append(listener.hear(sentence, decode(speech.data)))
    wrong = [hearing for hearing in hearings if hearing.errors]
    assert word_error_rate(hearings) <= 0.10, wrong


def test_another_sentence_is_not_mistaken_for_the_right_one(
    speech_server: ServerProcess, listener: Listener
) -> None:
    with speech_server.stub() as stub:
        speech = speak(stub, text=SENTENCES[7], format=FORMATS["wav"])
    assert word_error_rate([listener.hear(SENTENCES[9], decode(speech.data))]) > 0.8


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("at 9:30 p.m.", "at nine thirty PM"),
        ("March 3rd", "March third"),
        ("$7.50", "seven dollars and fifty cents"),
        ("Dr. Smith", "Doctor Smith"),
        ("1,234 km", "one thousand two hundred thirty four kilometers"),
        ("12.5 percent", "twelve point five percent"),
    ],
)
def test_spellings_of_one_sound_are_equal(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize(("one", "other"), [("13", "30"), ("$7", "7"), ("2.7 miles", "27 miles")])
def test_different_words_stay_different(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)
