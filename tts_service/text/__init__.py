"""What a text holds: forbidden characters, speech, lines that mean something, sentences.

Pure Python. Used by the front to plan and by engines that divide texts of their own.
"""

from .abbreviations import is_abbreviation
from .characters import find_forbidden_character, is_speakable
from .language import is_language, parse_language
from .lines import Passage, find_passages
from .sentences import find_sentence_ends, soften_inner_stops

__all__ = [
    "Passage",
    "find_forbidden_character",
    "find_passages",
    "find_sentence_ends",
    "is_abbreviation",
    "is_language",
    "is_speakable",
    "parse_language",
    "soften_inner_stops",
]
