"""Noun phrases of instructions and questions: which are understood, their articles and prepositions.

A noun phrase is understood only as a whole: an article, adjectives and a noun ("the dark green pepper"). Whatever
could be a relation, a clause, a number, an adverb or a state is refused, so that "the bowl next to the cup" never
becomes the name of an object. "of" may join a vessel or an amount to its content ("the cup of tea", "the slice of
bread") and nothing else: "the left of the fork" and "the lid of the pot" are refused.
"""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

Preposition: TypeAlias = Literal["in", "on"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


SURFACES = _words(
    "base bed bench board book carpet chair cloth coaster counter countertop couch desk floor ground lid mat napkin"
    " pad pedestal pillow placemat plate rack rug saucer shelf sofa stand stool stove table tabletop towel tray"
)
"""Nouns of objects that others lie *on*; every other container holds them *in*."""
VESSELS = _words(
    "bag barrel basin basket beaker bin bottle bowl box bucket cabinet can carton case chest container crate cup"
    " cupboard dish dishwasher drawer envelope fridge glass jar jug kettle microwave mug oven pan pitcher pocket pot"
    " purse sack sink spoon suitcase tin toaster trash tub tube vase"
)
"""Nouns of objects that others lie *in*; they may have a content, as in "cup of tea"."""
_AMOUNTS = _words(
    "bar block bunch deck loaf pack packet pair piece pile plate roll sheet slice stick tray"
)
POSITIONS = _words(
    "back bottom center central far first front last left lower middle rear right second third top upper"
)
"""Adjectives that tell objects apart by their places."""

_VOWEL_SOUND = re.compile(
    r"(?!e[uw]|one|u(?:ni(?![dmn])|r[aei]|s[aeu]|sb|te|k|v\b|[^a-z]))[aeiou]|hour|heir|honest",
    re.IGNORECASE,
)
"""Beginning of words with "an": "an umbrella", "an hourglass", but "a utensil"."""

_LONGEST = 5
"""Most words of a noun phrase, on each side of an "of"."""
_RELATIONS = _words(
    "about above across adjacent after against ahead along alongside amid among around as aside at atop away before"
    " behind below beneath beside besides between beyond but by close closer closest despite down during except"
    " farthest for from furthest here in inside instead into leftmost like near nearby nearest next of off on onto"
    " opposite out outside over past per rightmost since than that there through throughout till to together toward"
    " towards under underneath until up upon upside via when where which while who whose with within without"
)
"""Words that relate an object to another one, or begin a clause."""
_REFUSED = _RELATIONS | _words(
    # determiners, quantifiers, numbers
    "a all an another any anything both each either enough every everything few half least less many more most much"
    " neither no none nothing one ones other others same several some something such the two three four five six"
    " seven eight nine ten eleven twelve dozen once twice thrice time times"
    # pronouns
    " he her hers herself him himself his i it its itself me mine my myself our ours she their theirs them themselves"
    " these they this those us we what whatever whichever whom you your yours yourself"
    # conjunctions, auxiliaries, negations
    " although am and are be because been cannot could did do does done had has have how if is may might must nor"
    " not never or shall should so then though unless was were whenever wherever why will would yet"
    # adverbs
    " again almost also altogether always apart else even ever everywhere further halfway just later maybe now often"
    " otherwise perhaps please quite rather slightly somewhat somewhere soon still thereafter too very well"
    # verbs of another instruction
    " avoid bring carry ensure get give go grab keep leave let lift make move pick pour put remove repeat return"
    " rotate stir stop take throw touch turn unfold use wait"
)
_GERUNDS = _words(
    "baking building carving chewing chopping cleaning cooking cutting dining drying frying measuring mixing packing"
    " playing racing roasting rolling serving sewing washing watering wrapping"
)
"""First words of compounds such as "frying pan"."""
_NOT_LAST = _GERUNDS | _words(
    # states and adverbs
    "closed curly empty fast flat full hard horizontal inverted little open quick shut slow straight tilted ugly"
    " upright vertical"
    # places and measures
    " air area center centre cm corner degrees direction distance edge end front half inch inches left location"
    " meter meters middle part place position rear region rest right side sides space spot top back bottom way"
)
_INFLECTED = _GERUNDS | _words(
    "belly butterfly clothing curly dolly dressing dumpling earring fly holly icing jelly king lily pudding ring spring"
    " stocking string thing topping ugly wing bed flaxseed reed seaweed seed seedbed shed sled weed"
)
"""Nouns and adjectives that end like an adverb or a participle."""
_WORD = re.compile(r"[^\W\d_][^\W_]*(?:['’-][^\W_]+)*")


def noun_phrase(text: str) -> str:
    """Return the noun phrase without its article."""
    return re.sub(r"^(the|a|an|any|some|your|my|this|that) ", "", text.strip())


def is_understood(noun: str) -> bool:
    """Whether a text in lower case, without its article, is the name of one kind of object and nothing more."""
    return all(_is_simple(words) for words in _without_of(noun))


def is_related(noun: str) -> bool:
    """Whether a text in lower case relates an object to another one, as "bowl next to the cup" does."""
    return any(not words or _RELATIONS.intersection(words) for words in _without_of(noun))


def head(noun: str) -> str:
    """Return the noun that the other words describe: "cup" of "blue cup of tea"."""
    return (noun.partition(" of ")[0].split() or [""])[-1]


def preposition(container: str) -> Preposition:
    """Return "on" for a plate or a cloth, "in" for everything with walls."""
    return "on" if head(container) in SURFACES else "in"


def is_plural(noun: str) -> bool:
    """Whether the noun ends like a plural."""
    return head(noun).endswith("s") and not head(noun).endswith("ss")


def with_article(noun: str) -> str:
    """Return the noun with its indefinite article: "an orange crayon", "any scissors"."""
    if is_plural(noun):
        return f"any {noun}"
    return f"{'an' if _VOWEL_SOUND.match(noun) else 'a'} {noun}"


def _without_of(noun: str) -> list[list[str]]:
    """Words of the noun phrase before and after an "of" that joins a vessel or an amount to its content."""
    whole, of, content = noun.partition(" of ")
    is_content = of and head(whole) in VESSELS | _AMOUNTS
    return [part.split() for part in ((whole, content) if is_content else (noun,))]


def _is_simple(words: list[str]) -> bool:
    """Whether these words are adjectives and a noun, as far as their suffixes and the lists above tell."""
    if not 0 < len(words) <= _LONGEST or not all(map(_is_plain, words)):
        return False
    is_participle = words[-1].endswith("ed") and words[-1] not in _INFLECTED
    return not is_participle and words[-1] not in _NOT_LAST


def _is_plain(word: str) -> bool:
    is_inflected = word.endswith(("ly", "ing", "n't", "n’t", "wise", "wards"))
    return (
        bool(_WORD.fullmatch(word))
        and word not in _REFUSED
        and (word in _INFLECTED or not is_inflected)
    )
