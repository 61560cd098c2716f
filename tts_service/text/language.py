"""Language tags (BCP-47).

Well-formedness and case by RFC 5646, without its registry. The library `langcodes` knows the
registry too, but keeps every tag it has seen for ever and recurses once a subtag, which makes
it unfit for what strangers send.
"""

import re

__all__ = ["is_language", "parse_language"]

MAX_TAG_CHARACTERS = 64

# RFC 5646, section 2.1, without the grandfathered tags.
_TAG = re.compile(
    r"""
    (?P<language> [a-z]{2,3} (?:-[a-z]{3}){0,3} | [a-z]{4,8} )
    (?:-(?P<script> [a-z]{4} ))?
    (?:-(?P<region> [a-z]{2} | [0-9]{3} ))?
    (?P<variants> (?:-(?: [a-z0-9]{5,8} | [0-9][a-z0-9]{3} ))* )
    (?P<extensions> (?:-[a-wy-z0-9](?:-[a-z0-9]{2,8})+)* )
    (?P<private> (?:-x(?:-[a-z0-9]{1,8})+)? )
    """,
    re.VERBOSE,
)


def parse_language(tag: str) -> str:
    """Returns a tag in its usual case: `en_us` as `en-US`, `zh-hant` as `zh-Hant`.

    Raises:
        ValueError: it is not a BCP-47 tag, or longer than `MAX_TAG_CHARACTERS`.
    """
    if len(tag) > MAX_TAG_CHARACTERS:
        raise ValueError(f"a language tag has at most {MAX_TAG_CHARACTERS} characters")
    match = _TAG.fullmatch(tag.lower().replace("_", "-")) if tag.isascii() else None
    if match is None:
        raise ValueError("not a BCP-47 tag")
    head = [match["language"], (match["script"] or "").title(), (match["region"] or "").upper()]
    tail = match["variants"] + match["extensions"] + match["private"]
    return "-".join(part for part in head if part) + tail


def is_language(tag: str) -> bool:
    """Whether `parse_language` takes the tag."""
    try:
        parse_language(tag)
    except ValueError:
        return False
    return True
