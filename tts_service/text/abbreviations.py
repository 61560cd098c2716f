"""Words whose full stop does not end a sentence."""

import unicodedata
from collections.abc import Mapping
from types import MappingProxyType

# Written in small letters: the capitalised form counts as well. Written with a capital: only
# that form, because the other is a word ("Sat." but "the cat sat."). Single letters, words
# with stops inside and short words of consonants alone are known by their shape.
# To miss a sentence border costs a pause, to invent one breaks a sentence, so words are
# listed even where they may well close a sentence ("etc.").
_EVERYWHERE = frozenset(
    """
    al approx bros ca capt cie co col corp dept dipl ed eds etc excl ext fig figs gen gov hon inc
    incl max min op prof ref rev tel univ vol vols
    """.split()
)

_BY_LANGUAGE: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        language: frozenset(words.split())
        for language, words in {
            "en": """
                abbr adj adm assn asst assoc ave avg brig cmdr comdr cont chap div enc eq esp esq
                est fac govt inst intl maj mins misc natl opp para pres rec recd reg rep reps
                sec secs sen sens supt tbsp temp treas viz yrs
                Apr Aug Dec Feb Fri Jan Jul Jun Mar Mon Nov Oct Sat Sep Sept Sun Thu Thur Thurs
                Tue Tues Wed
                Ala Ariz Ark Calif Colo Conn Del Ill Ind Minn Miss Okla Ore Penn Tenn Tex Wash Wis
                """,
            "de": """
                abb abs abschn abt allg anm aufl ausg bd bearb bes betr bez bzgl bsp bspw ebd ehem
                eigtl einschl engl entspr erw etw evtl exkl ff forts frz gaz geb gegr gek gem gest
                ggf ggfs hrsg inh inkl insb jahrh jhdt kap lat led lfd mind mio mag nachf num österr
                ordentl phil pos rel resp schweiz sog spez stellv str südl tab tägl telef urspr usf
                usw verf verh vgl vorm wiss zit zus zzgl öffentl östl übers
                Apr Aug Dez Febr Feb Jan Jul Jun Nov Okt Sept Di Do Fr Mi Mo Sa So
                """,
            "fr": """
                adj art av bibl boul chap coll dép dir éd édit env ex fasc fém févr hab inf janv
                juil loc masc math mlle mlles mme mmes obs oct pl préf prov réf sept suiv sup tél
                trad Av Avr Déc Nov MM Éd Éts
                """,
            "es": """
                adj admón afma apdo aprox apdo art arts atte av avda cap caps cía cías coord cta
                depto dir doc dña dpto ej entlo excmo excma gral ibíd ilmo ilma impr izda izdo izq
                lic máx mín núm núms pág págs párr pdo pdta pl profa prov pza ref sig sigs sra
                sras srta srtas sres sta sto tít tfno tlf trad ud uds vda EE UU
                Abr Ago Dic Ene Jul Jun Nov Oct Sept
                """,
            "it": """
                all app art artt avv bibl cap capp cav cfr cit comm cons dott ecc egr es fasc geom
                ibid ill ing int lett mons num on pag pagg par pref prot proff rag rif sez seg segg
                sig sigg sigra spett tab tav trad ver
                Apr Dic Feb Gen Giu Lug Mag Ott Set
                """,
            "pt": """
                adj aprox art av bibl cap cia cód coord dep depto dir doc dra dras eng est ex exa
                exmo exma ilmo ilma máx mín núm obs pág págs par pça profa rem rod sra sras srta
                sta sto trad trav
                Abr Ago Dez Fev Jan Jul Jun Nov Out Set
                """,
            "nl": """
                aanh aant afb afd afl alg arch bijl bijv blz drs enz evt febr gebr geb gem hfst ibid
                ing ir jhr juffr kol lic mej mevr mld mln nov okt ong opm pag par penn red resp
                secr sept soc str techn temp toel tab uitg verg vert vgl vnl voorz zgn
                Apr Aug Dec Feb Jan Jul Jun Mrt
                """,
            "pl": """
                adm art doc dol dosł ew franc godz gosp hab im inż itd itp kap kard kier lek lic
                łac łow mec mies nacz niem ob ok oprac os osz pkt płk pn pok pol pon poz por pow
                proc przyp pseud rej ros rozdz red rys sob św śr tab tłum tow tys tyt ul ur ust wewn
                wicemin właśc woj wsch wyd zach zał zam zob zool
                """,
        }.items()
    }
)

_IN_ANY_LANGUAGE = _EVERYWHERE.union(*_BY_LANGUAGE.values())

# Words on their own, abbreviations before a number: "no. 5", "art. 12".
_BEFORE_NUMBERS = frozenset("art cap kap lit no nos par pos".split())

# Languages that write "3." for "third".
_WITH_ORDINAL_STOP = frozenset(
    "bs cs da de et fi fo hr hu is lb lv mk nb nn no pl sk sl sr sv tr".split()
)

_VOWELS = frozenset("aeiouy")


def is_abbreviation(word: str, language: str, *, before_number: bool = False) -> bool:
    """Say whether the full stop behind a word belongs to the word.

    Args:
        word: What stands between the last white space, slash or hyphen and the full stop.
        language: BCP-47 tag. For a language without a list all lists count together.
        before_number: Whether a number follows.
    """
    if not word:
        return False
    if len(word) == 1:
        return word.isalpha()  # an initial, "p. 5", the parts of "z. B."
    parts = word.split(".")
    if len(parts) > 1 and all(part.isalpha() and len(part) <= 3 for part in parts):
        return True  # e.g., p.m., U.S., Ph.D., m.in.
    primary = _primary(language)
    known = _BY_LANGUAGE.get(primary)
    listed = _IN_ANY_LANGUAGE if known is None else _EVERYWHERE | known
    small = word.lower()
    if not listed.isdisjoint((word, small, word.capitalize() if word.isupper() else word)):
        return True
    if before_number and small in _BEFORE_NUMBERS:
        return True
    return _is_unpronounceable(small)


def is_ordinal(word: str, language: str) -> bool:
    """Say whether a number with a full stop behind it means its ordinal in this language.

    Numbers of four digits are taken for years, which do end sentences.
    """
    if _primary(language) not in _WITH_ORDINAL_STOP:
        return False
    return (word.isdecimal() and len(word) <= 3) or (
        word.isascii() and word.isupper() and not word.strip("IVXLCM")
    )


def _primary(language: str) -> str:
    return language.replace("_", "-").split("-", 1)[0].lower()


def _is_unpronounceable(word: str) -> bool:
    """Short words of Latin consonants alone are abbreviations, listed or not."""
    if len(word) > 4:
        return False
    letters = [c for c in unicodedata.normalize("NFD", word) if not unicodedata.combining(c)]
    return all(c.isascii() and c.isalpha() and c not in _VOWELS for c in letters)
