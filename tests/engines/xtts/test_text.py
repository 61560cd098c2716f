"""Text is tidied, spelled out and encoded as upstream does it, or refused with a reason."""

from collections.abc import Callable

import pytest

from tests.xtts_checkpoint import Pair
from tts_service.engines.base import NotPossibleError
from tts_service.engines.xtts import text as text_module
from tts_service.engines.xtts.text import LANGUAGES, TextEncoder, tidy

MAX_TOKENS = 400

SENTENCES = {
    "en": "Hello, it is 12 o'clock on the 3rd of May.",
    "es": "¿Qué tal? Tengo 21 años.",
    "fr": "Où est l'hôtel ? Il a 35 chambres.",
    "de": "Am 3. Mai sah ich 21 Vögel.",
    "it": "Perché no? Sono 7 euro.",
    "pt": "Não, são 18 maçãs.",
    "pl": "Zażółć gęślą jaźń 15 razy.",
    "tr": "Bugün 4. gün, güneşli.",
    "ru": "Сегодня 25 градусов.",
    "nl": "Het kost 12,50 en niet meer.",
    "cs": "Dnes je 12,5 stupně.",
    "ar": "مرحبا، لدي 3 كتب.",
    "hu": "Jó napot, 12 alma.",
    "ko": "안녕하세요, 사과 3개.",
    "hi": "नमस्ते, आप कैसे हैं।",
}
NEED_PACKAGES = {"zh-CN": ("pypinyin", "zh"), "ja": ("cutlet", "ja")}


@pytest.fixture
def encoder(tiny: Pair) -> TextEncoder:
    return TextEncoder(tiny.checkpoint.tokenizer, MAX_TOKENS)


@pytest.fixture
def read(tiny: Pair, encoder: TextEncoder) -> Callable[[str, str], str]:
    """What a text has become when the model gets it, without its language's mark."""

    def read(text: str, tag: str) -> str:
        whole: str = tiny.checkpoint.tokenizer.decode(encoder.encode(text, tag).tokens)
        mark = f"[{tag}]"
        assert whole.startswith(mark)
        return whole.removeprefix(mark)

    return read


@pytest.mark.parametrize(
    ("text", "tidied"),
    [
        ('"Hello."', "Hello."),
        ('"Hello"', "Hello."),
        ("„Ja, gern“", "Ja, gern."),
        ("« Bonjour ! »", "Bonjour !"),
        ("‘Well,’", "Well."),
        ("(Hello)", "Hello."),
        ("*Hello*", "Hello."),
        ("Hello", "Hello."),
        ("Hello,", "Hello."),
        ("Hello;", "Hello."),
        ("Hello: ", "Hello."),
        ("Hello –", "Hello."),
        ("— Hello —", "Hello."),
        ("  Hello!\n", "Hello!"),
        ("Room 5", "Room 5."),
        ("100%", "100%."),
        ("[Sic]", "Sic."),
        ("「はい。」", "はい。"),
        ("（はい）", "はい."),
        ("مرحبا،", "مرحبا."),
        ("你好，", "你好."),
    ],
)
def test_a_sentence_begins_with_a_word_and_ends_with_a_mark(text: str, tidied: str) -> None:
    assert tidy(text) == tidied


@pytest.mark.parametrize(
    "text",
    [
        "Hello.",
        "Hello?",
        "Wait…",
        "Really?!",
        "¿Qué?",
        "你好。",
        "नमस्ते।",
        "مرحبا؟",
        'Don\'t say "no" - say why.',
        "It costs $5.",
    ],
)
def test_a_tidy_sentence_stays_as_it_is(text: str) -> None:
    assert tidy(text) == text


@pytest.mark.parametrize("text", ['"', "—", "...", "?", " ( ) "])
def test_what_is_no_word_can_be_tidied_and_encoded(text: str, encoder: TextEncoder) -> None:
    assert encoder.encode(text, "en").characters >= 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ich habe 5", "ich habe fünf."),
        ("Ich habe 5.", "ich habe fünf."),
        ("Zimmer 3?", "zimmer drei?"),
        ("Das war 2024!", "das war zweitausendvierundzwanzig!"),
        ("„Ich habe 5“", "ich habe fünf."),
        ("Am 3. Mai", "am dritte mai."),
    ],
)
def test_a_number_at_the_end_is_no_ordinal(
    text: str, expected: str, read: Callable[[str, str], str]
) -> None:
    assert read(text, "de") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1. ledna", "jedna ledna."), ("Dne 24. prosince.", "dne dvacet čtyři prosince.")],
)
def test_an_ordinal_that_has_no_words_is_read_as_a_number(
    text: str, expected: str, tiny: Pair, read: Callable[[str, str], str]
) -> None:
    with pytest.raises(NotImplementedError):
        tiny.checkpoint.tokenizer.encode(text.lower(), "cs")
    assert read(text, "cs") == expected


def test_the_languages_are_upstreams(tiny: Pair) -> None:
    upstream = tiny.stock.config.languages
    assert {tag.lower() for tag in LANGUAGES} == set(upstream)
    assert {one.code: one.max_characters for one in LANGUAGES.values()} == (
        tiny.checkpoint.tokenizer.char_limits
    )
    assert LANGUAGES.keys() == SENTENCES.keys() | NEED_PACKAGES.keys()


@pytest.mark.parametrize("tag", SENTENCES)
def test_a_tidy_text_is_encoded_as_upstream_encodes_it(
    tag: str, tiny: Pair, encoder: TextEncoder
) -> None:
    tokenizer = tiny.checkpoint.tokenizer
    text = SENTENCES[tag]
    encoded = encoder.encode(text, tag)
    # What upstream does in `inference` before it encodes.
    assert encoded.tokens == tokenizer.encode(text.strip().lower(), tag)
    unknown = tokenizer.tokenizer.token_to_id("[UNK]")
    assert encoded.tokens.count(unknown) == 0


@pytest.mark.parametrize("mark", LANGUAGES)
def test_a_word_in_brackets_is_no_mark(mark: str, tiny: Pair, encoder: TextEncoder) -> None:
    token = tiny.checkpoint.tokenizer.tokenizer.token_to_id(f"[{mark.lower()}]")
    assert token is not None
    tokens = encoder.encode(f"He said [{mark}] was fine, [[{mark}]] too.", "en").tokens
    assert token not in tokens[1:]


def test_a_capital_i_has_one_dot(read: Callable[[str, str], str]) -> None:
    assert read("İstanbul", "tr") == read("istanbul", "tr") == "istanbul."


def test_characters_are_counted_behind_the_numbers(encoder: TextEncoder) -> None:
    assert encoder.encode("21 birds.", "en").characters == len("twenty-one birds.")


@pytest.mark.parametrize("tag", NEED_PACKAGES)
def test_a_missing_package_is_named(
    tag: str, encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, extra = NEED_PACKAGES[tag]
    monkeypatch.setattr(text_module, "find_spec", lambda _: None)
    with pytest.raises(NotPossibleError) as refused:
        encoder.encode("你好。", tag)
    assert str(refused.value) == (
        f"to read '{tag}' the server needs the package {package}; "
        f"install it there with: pip install 'coqui-tts[{extra}]'"
    )


def test_only_two_languages_need_more_than_the_engine_brings(
    encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_module, "find_spec", lambda _: None)
    encoder.warm_up()
    missing = {tag for tag, language in LANGUAGES.items() if not language.is_installed}
    assert missing == NEED_PACKAGES.keys()


@pytest.mark.parametrize("tag", ["xx", "", "EN", "zh-cn", "zh"])
def test_another_language_is_refused_with_the_choices(tag: str, encoder: TextEncoder) -> None:
    with pytest.raises(NotPossibleError, match="it speaks en, es, fr") as refused:
        encoder.encode("Hello.", tag)
    assert repr(tag) in str(refused.value)


def test_numbers_that_grow_too_long_are_refused(encoder: TextEncoder) -> None:
    text = "987654321 " * 24
    assert len(text) <= LANGUAGES["en"].max_characters
    with pytest.raises(NotPossibleError, match=r"becomes \d+ tokens .* fewer than 400: divide it"):
        encoder.encode(text, "en")


@pytest.mark.parametrize(("length", "fits"), [(MAX_TOKENS - 3, True), (MAX_TOKENS - 2, False)])
def test_the_last_token_that_fits(length: int, fits: bool, encoder: TextEncoder) -> None:
    """The mark of the language and the full stop are tokens too."""
    text = "a" * length
    if fits:
        assert len(encoder.encode(text, "en").tokens) == MAX_TOKENS - 1
    else:
        with pytest.raises(NotPossibleError, match="becomes 400 tokens"):
            encoder.encode(text, "en")


@pytest.mark.parametrize(
    "text",
    [
        "9" * 400,
        "1.2.3.4",
        "½",
        "²",
        "٣",
        "१२",
        "1e9",
        "$",
        "3/4",
        "12:30",
        "1,000,000.5",
        "9" * 60,
        "12345678901234567,5",
    ],
)
@pytest.mark.parametrize("tag", SENTENCES)
def test_odd_numbers_are_read_or_refused(tag: str, text: str, encoder: TextEncoder) -> None:
    try:
        encoded = encoder.encode(text, tag)
    except NotPossibleError:
        return
    assert encoded.tokens
