"""Plans of real and of hostile texts."""

import gc
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tts_service.synthesis.plan import (
    OPENING_PAUSE_MS,
    PARAGRAPH_PAUSE_MS,
    SENTENCE_PAUSE_MS,
    plan_segments,
)
from tts_service.text import is_speakable


def planned(text: str, language: str = "en", max_characters: int = 400) -> list[str]:
    segments = plan_segments(text, max_characters=max_characters, language=language)
    return [segment.text for segment in segments]


# "|" marks the borders that are expected.
ENGLISH = [
    "Hello.| How are you?| I am fine!| Good.",
    "Prof. Smith met Dr. Jones and Mrs. Brown at St. Mary's.| They talked.",
    "It takes approx. Two hours, e.g. Monday to noon, i.e. Not long.| Really.",
    "He lives at No. 5 Baker St. London is large.| So is he.",
    "Apple Inc. Reported sales vs. Microsoft Corp. Yesterday.| They rose.",
    "On Jan. 5 and Sept. 30 we are closed.| Otherwise we are open.",
    "The cat sat.| The sun shone on me.| We left.",
    "The U.S. Army and the U.N. Council met at 5 p.m. Friday.| They left at 10 a.m. Monday.",
    "J. R. R. Tolkien and George R. R. Martin wrote.| People read.",
    "It costs 3.50 today.| Version 2.0.1 cost 1,234.56 before.| That is all.",
    "Then... nothing.",
    "Wait... What?| Then… Nothing happened. . . Perhaps.| It did.",
    "Read https://example.com/a.B?c=D.E now.| Or www.example.com.| Then go.",
    "Have you seen example.org?| Yes, I have.",
    "See fig. 5.| The rest is in vol. 3.| Chapter two is here.",
    "“Who is it?” Anna asked.| “It is me.”| Then silence.",
    '"Stop!" Tom cried.| "Why?" she said.| "Because."',
    "(He left early.)| They stayed (or did they?) Until noon.",
    "The book by Smith et al. Shows it.| Read on.",
    "He holds a Ph.D. He works for Miller Ltd. They pay well.| She agrees.",
    "Sen. Warren met Gov. Brown, Lt. Col. King and Lt.-Col. Hall.| All agreed.",
    "MR. BROWN MET DR. GREEN TODAY.| THEY SPOKE.",
    "**This is bold.**| This is not.| Fine.",
    "5 * 3 is fifteen.| Two*three is six.",
    "2*3*4 is 24.| Set a*b + c*d to zero.| Then stop.",
    "Write **this** and a*b*c.| Then x*y*z.| Stop.",
    "Yes!| — Never.| - Perhaps later.",
    "What?!| Never!!!| All right then.",
]  # fmt: skip

OTHERS = [
    ("de", "Am 3. Oktober kam der 2. Wagen.| Er war leer."),
    ("de", "Ludwig XIV. König von Frankreich, starb.| So war es."),
    ("de", "Das war 1990.| Dann kam Anna."),
    ("de", "Sie mag Obst, z. B. Kirschen, d. h. Süßes, u. a. Pflaumen.| Er auch nicht."),
    ("de", "Die Fa. Meier (vgl. Abb. 3) zahlt ca. 5 Mio. inkl. MwSt. Danach kam bzw. Ging er."),
    ("de", "Er sagte: „Komm!“ Anna kam.| Dann gingen sie."),
    ("fr", "M. Dupont et Mme. Durand habitent av. Foch.| Ils rient."),
    ("fr", "Voir p. ex. Paris, chap. Deux, éd. Gallimard.| C'est tout."),
    ("fr", "Il est parti.| « Pourquoi ? » demanda-t-elle.| À demain."),
    ("es", "¿Cómo estás?| ¡Muy bien!| ¿Y tú?"),
    ("es", "El Sr. Pérez y la Dra. López viven en la Avda. América, núm. Cinco.| Ellos ríen."),
    ("es", "Los EE. UU. Son grandes, p. ej. Texas.| Son muchos."),
    ("it", "Il Sig. Rossi e la Dott.ssa Bianchi, cfr. Pag. 5, arrivano.| Sono qui."),
    ("it", "L'avv. Verdi lavora per Alfa S.p.A. Milano è bella.| Anche noi andiamo."),
    ("pt", "O Sr. Silva e a Dra. Costa moram na Av. Paulista.| Eles riem."),
    ("nl", "Dhr. Jansen en mevr. Bakker kopen o.a. Brood, enz. Ze lachen samen.| Mooi zo."),
    ("pl", "Mieszka przy ul. Długiej z prof. Nowakiem, m.in. Anną, tj. Wszystkimi.| To prawda."),
    ("pl", "Dnia 3. Maja był u św. Anny.| Wrócił potem."),
    ("zh", "你好。|今天很好！|真的吗？|是的。"),
    ("ja", "「はい。」と言った。|終わり。"),
    ("hi", "यह एक वाक्य है।| वह दूसरा है।"),
    ("ar", "كيف حالك؟| أنا بخير."),
    ("xx", "Prof. Novak, bzw. Anna, przy ul. Długiej.| Konec dobrý."),
    ("en-GB", "Prof. Smith left.| He ran."),
]  # fmt: skip


@pytest.mark.parametrize("marked", ENGLISH)
def test_english_sentences(marked: str) -> None:
    assert planned(marked.replace("|", "")) == _expected(marked)


@pytest.mark.parametrize(("language", "marked"), OTHERS)
def test_sentences_of_other_languages(language: str, marked: str) -> None:
    assert planned(marked.replace("|", ""), language) == _expected(marked)


def _expected(marked: str) -> list[str]:
    return [part.strip().replace("**", "") for part in marked.split("|")]


def test_a_weekday_is_an_abbreviation_and_a_word_is_not() -> None:
    assert planned("Closed on Sat. Open on Monday.") == ["Closed on Sat. Open on Monday."]
    assert planned("The dog sat. Open the door.") == ["The dog sat.", "Open the door."]


def test_ordinals_belong_to_the_language() -> None:
    text = "Das ist Platz 3. Oktober ist bald."
    assert len(planned(text, "de")) == 1
    assert len(planned(text, "en")) == 2


def test_list_numbers_stay_with_their_items() -> None:
    items = planned("1. Buy some milk. 2. Call the office. 3. Rest.")
    assert items == ["1. Buy some milk.", "2. Call the office.", "3. Rest."]
    assert planned("2.1. Scope\n2.2. Terms") == ["2.1. Scope", "2.2. Terms"]


class TestLineBreaks:
    def test_wrapped_prose_is_one_sentence(self) -> None:
        prose = (
            "When the train came in at last, the tall man who had waited for\n"
            "Anna since the early morning took his hat off, and with it all\n"
            "the snow of the night."
        )
        assert planned(prose) == [prose.replace("\n", " ")]

    def test_a_heading_is_a_segment(self) -> None:
        text = "Chapter One\nIt was late in the year, and nobody had expected him to return."
        assert planned(text) == text.split("\n")

    @pytest.mark.parametrize(
        "items",
        [
            ["Milk", "Eggs", "Brown bread"],
            ["2 eggs", "3 cups of flour"],
            ["- milk", "- eggs"],
            ["• milk", "• eggs"],
            ["1. milk", "2. eggs"],
            ["a) milk", "b) eggs"],
            ["Ingredients:", "Milk and honey"],
        ],
    )
    def test_items_are_segments(self, items: list[str]) -> None:
        assert planned("\n".join(items)) == items

    def test_asterisks_as_bullets_are_not_spoken(self) -> None:
        assert planned("* milk\n* eggs") == ["milk", "eggs"]

    def test_verses_go_on_behind_a_comma(self) -> None:
        assert planned("The rose is red,\nThe violet blue;\nSugar is sweet\nAnd so are you") == [
            "The rose is red, The violet blue;",
            "Sugar is sweet",
            "And so are you",
        ]

    @pytest.mark.parametrize("text", ["I met Mr.\nSmith", "we went\nhome", "Wait...\nWhat"])
    def test_a_break_within_a_sentence_is_a_space(self, text: str) -> None:
        assert planned(text) == [text.replace("\n", " ")]

    @pytest.mark.parametrize("blank", ["\n\n", "\r\n\r\n", "\n \t\n", "\n* * *\n", "\n---\n"])
    def test_a_paragraph_ends_after_anything(self, blank: str) -> None:
        assert planned(f"See Mr.{blank}then what...{blank}ever") == [
            "See Mr.",
            "then what...",
            "ever",
        ]


def test_spans_and_pauses() -> None:
    text = "  Hello\t there. \n Second   one.\n\n...\n\n*Third*, last.  "
    assert [
        (segment.text, segment.start_character, segment.end_character, segment.pause_ms)
        for segment in plan_segments(text, max_characters=100)
    ] == [
        ("Hello there.", 2, 15, SENTENCE_PAUSE_MS),
        ("Second one.", 18, 31, PARAGRAPH_PAUSE_MS),
        ("Third, last.", 39, 52, 0),
    ]


def test_a_part_of_a_segment_is_found_in_the_source() -> None:
    text = "A\n\tfolded *word*, here."
    (segment,) = plan_segments(text, max_characters=100)
    assert segment.text == "A folded word, here."
    for word in ("folded", "word", "here"):
        start = segment.text.index(word)
        first, end = segment.source_span(start, start + len(word))
        assert text[first:end] == word
    assert segment.source_span(0, 99) == (0, len(text))
    assert segment.source_span(99, 99) == (len(text) - 1, len(text))


@pytest.mark.parametrize("text", ["", " \n", "...", "?! — …", "😀 👍", "* * *", "“”"])
def test_nothing_speakable_gives_no_segments(text: str) -> None:
    assert plan_segments(text, max_characters=100) == ()


def test_what_cannot_be_spoken_is_left_out_and_its_pause_stays() -> None:
    segments = plan_segments("Great day. ?!\n\nNext.", max_characters=100)
    assert [(s.text, s.pause_ms) for s in segments][-1] == ("Next.", 0)
    assert segments[-2].pause_ms == PARAGRAPH_PAUSE_MS


class TestLongSentences:
    def test_cuts_at_clauses_without_a_pause(self) -> None:
        text = "When the rain stopped, we went out into the garden; it was green — and quiet."
        segments = plan_segments(text, max_characters=40)
        assert [s.text for s in segments] == [
            "When the rain stopped,",
            "we went out into the garden;",
            "it was green — and quiet.",
        ]
        assert {s.pause_ms for s in segments} == {0}

    def test_cuts_at_spaces_of_about_equal_share(self) -> None:
        pieces = planned("one two three four five six seven eight nine ten", max_characters=26)
        assert pieces == ["one two three four five", "six seven eight nine ten"]

    @pytest.mark.parametrize("limit", range(12, 60))
    @pytest.mark.parametrize(
        "whole",
        ["1,000,000", "3.14159", "Dr. Miller", "5 p.m.", "2 000 000", "1914–1918", "noël"],
    )
    def test_never_cuts_within(self, whole: str, limit: int) -> None:
        text = f"and so they went on {whole} or more than that before it was all over"
        assert any(whole in piece for piece in planned(text, max_characters=limit))

    @pytest.mark.parametrize("cluster", ["e\u0301", "👩‍👩‍👧", "🇩🇪", "👍🏽", "क्षि", "한"])
    @pytest.mark.parametrize("limit", range(8, 14))
    def test_never_cuts_a_grapheme_cluster(self, cluster: str, limit: int) -> None:
        for piece in planned("x" + f"a{cluster}" * 20, max_characters=limit):
            assert not piece.removeprefix("x").replace(f"a{cluster}", "").strip("a" + cluster)
            assert piece.removeprefix("x").replace(cluster, "").strip("a") == ""

    def test_words_longer_than_the_limit_are_cut_hard(self) -> None:
        assert planned("a" * 25, max_characters=10) == ["a" * 10, "a" * 10, "a" * 5]
        assert planned("9" * 25, max_characters=10) == ["9" * 10, "9" * 10, "9" * 5]

    def test_chinese_is_cut_at_its_commas(self) -> None:
        assert planned("今天天气很好，我们去公园，大家都高兴", "zh", 8) == [
            "今天天气很好，",
            "我们去公园，",
            "大家都高兴",
        ]


class TestOpening:
    @staticmethod
    def opened(text: str, opening: int = 60, limit: int = 400, language: str = "en") -> list[str]:
        segments = plan_segments(
            text, max_characters=limit, opening_characters=opening, language=language
        )
        return [segment.text for segment in segments]

    @pytest.mark.parametrize(
        "marked",
        [
            "The parcel that you ordered on Monday has gone out,| and it will reach you on Friday.",
            "Dear customer, thank you for waiting;| the next free agent will be with you soon.",
            "When he came home – it was late – nobody was there,| and the door stood wide open.",
            "“I have waited here for you,” she said,| and put the old suitcase down on the step.",
        ],
    )
    def test_a_long_first_sentence_opens_with_a_clause(self, marked: str) -> None:
        assert self.opened(marked.replace("|", "")) == marked.split("| ")

    def test_the_opening_has_the_pause_of_a_comma(self) -> None:
        text = "The parcel that you ordered has gone out, and it will reach you on Friday morning."
        segments = plan_segments(text, max_characters=400, opening_characters=60)
        assert [segment.pause_ms for segment in segments] == [OPENING_PAUSE_MS, 0]

    @pytest.mark.parametrize(
        "whole",
        [
            "It went out today, and arrives on Friday.",  # short as it is
            "Yes, sir and madam and whoever else is listening to this long announcement of ours.",
            "There is nothing in this long sentence that would let a reader take breath anywhere.",
            "The report that was published on May 5, 2026 says what everybody had known.",
            "It was written by a certain Tolkien, J. R. R. and read by more people than we know.",
            "It was signed by old Mr. Sammy Davis, Jr. and by all the others who had been there.",
            "In the whole of last year we sold 1,234,567 of them to people in every country.",
            "There were many more than we had ever seen at any time in that long summer, they say.",
        ],
    )
    def test_what_belongs_together_stays_together(self, whole: str) -> None:
        assert self.opened(whole) == [whole]

    def test_only_the_first_sentence_is_opened(self) -> None:
        long = "The parcel that you ordered has gone out, and it will reach you on Friday morning."
        assert self.opened(f"Hello. {long}") == ["Hello.", long]
        assert len(self.opened(f"{long} {long}")) == 3

    def test_the_limit_holds_for_the_rest(self) -> None:
        text = "The parcel has gone out to you, " + "and on it goes " * 20
        assert max(map(len, self.opened(text, limit=50))) <= 50


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_refused(limit: int) -> None:
    with pytest.raises(ValueError, match="max_characters"):
        plan_segments("Hello.", max_characters=limit)


ODD_PARTS = [
    *" .!?…,;:\"'()*-—\n\r\t1aA。！“”«»¿\u0301\u200d\u00a0\u2028\x1c😀你",
    "Mr.", "e.g.", "1.", "...", "\n\n", "1,000", "http://a.b", " A", ". B", "a*b",
]  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(
    text=st.one_of(st.text(), st.lists(st.sampled_from(ODD_PARTS)).map("".join)),
    limit=st.integers(1, 60),
    opening=st.sampled_from([0, 0, 1, 25, 60]),
    language=st.sampled_from(["en", "de", "zh", "", "xx-YY"]),
)
@example("\U0001f468\u200d" * 40 + "a", 3, 0, "en")
@example("a" + "\u0301" * 40, 5, 25, "en")
@example("Liebe Kolleg*innen und Leser*innen, willkommen. Los geht's.", 60, 0, "de")
def test_any_text_is_covered_in_order(text: str, limit: int, opening: int, language: str) -> None:
    segments = plan_segments(
        text, max_characters=limit, opening_characters=opening, language=language
    )
    covered = [False] * len(text)
    end = 0
    for segment in segments:
        assert end <= segment.start_character < segment.end_character <= len(text)
        end = segment.end_character
        source = text[segment.start_character : end]
        assert source == source.strip()
        assert "".join(source.replace("*", "").split()) == "".join(
            segment.text.replace("*", "").split()
        )
        assert is_speakable(segment.text)
        assert segment.text == " ".join(segment.text.split())
        assert len(segment.text) <= limit
        covered[segment.start_character : end] = [True] * len(source)
    assert not any(is_speakable(c) for c, told in zip(text, covered, strict=True) if not told)
    assert all(s.pause_ms >= 0 for s in segments)
    assert not segments or segments[-1].pause_ms == 0


@pytest.mark.parametrize("limit", [1, 40, 250, 100_000])
@pytest.mark.parametrize(
    "part",
    ["1. ", "A. ", "。a", "a. ", ". . ", "...", "! A", "*", "a*b ", "(", "a!) A", "\n", "a\n",
     "- a\n", "a ", "1,", "1", "a\u0301", "\u0301", "😀\u200d", "\"' ",
     ".\"A", ",\"", " ", "Mr. ", ". 1"],
)  # fmt: skip
def test_hostile_text_takes_linear_time(part: str, limit: int) -> None:
    """Four times the text takes some four times the work, where squares would take sixteen."""
    for _ in range(5):  # a time can be disturbed, and will not be five times
        short_s, long_s = (_planning_s((part * size)[:size], limit) for size in (2_500, 10_000))
        if long_s < 8 * short_s + 0.02:
            return
    pytest.fail(f"{short_s:.3f} s for a quarter, {long_s:.3f} s for the whole")


def _planning_s(text: str, limit: int) -> float:
    gc.disable()  # it would look at everything that all tests have left
    try:
        started = time.process_time()
        plan_segments(text, max_characters=limit)
        return time.process_time() - started
    finally:
        gc.enable()
