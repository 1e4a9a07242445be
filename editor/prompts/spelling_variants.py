"""Generate spelling variants of a name that have other tokens than the name.

By rule, without a dictionary: first forms with the same letters (joined, hyphenated, as a handle, without accents), then
plural and possessive, then British or American spelling, then frequent misspellings. Misspellings that are other words are
left out: common ones are listed below, and a word that is a single CLIP token was frequent in the tokenizer's training text.
"""

import re
import unicodedata
from collections.abc import Collection, Iterator
from itertools import chain, zip_longest

from api_schemas.conflicts import Words, normalize_words
from editor.prompts.concepts import ConceptKind
from editor.prompts.tokenizer_cache import TokenizerCache

MIN_MISSPELLED_LETTERS = 5
"""Letters of a word that is misspelled; shorter words turn into one another."""
MAX_SWAPS = 2

IRREGULAR_PLURALS = {
    "mouse": "mice", "man": "men", "woman": "women", "child": "children", "goose": "geese", "foot": "feet", "tooth": "teeth",
    "person": "people", "ox": "oxen", "wolf": "wolves", "leaf": "leaves", "knife": "knives", "elf": "elves", "loaf": "loaves",
    "thief": "thieves", "scarf": "scarves", "hoof": "hooves", "shelf": "shelves", "calf": "calves", "cactus": "cacti",
}  # fmt: skip
INVARIANT_PLURALS = {
    "fish", "sheep", "deer", "moose", "bison", "salmon", "trout", "shrimp", "aircraft", "glasses", "sunglasses", "scissors",
    "trousers", "jeans", "pants", "shorts", "goggles", "binoculars", "news", "clothes", "headphones", "series", "species",
}  # fmt: skip
BRITISH = {
    "color": "colour", "armor": "armour", "harbor": "harbour", "flavor": "flavour", "neighbor": "neighbour", "gray": "grey",
    "center": "centre", "theater": "theatre", "fiber": "fibre", "saber": "sabre", "specter": "spectre", "tire": "tyre",
    "airplane": "aeroplane", "donut": "doughnut", "jewelry": "jewellery", "mustache": "moustache", "pajamas": "pyjamas",
    "plow": "plough", "mold": "mould", "yogurt": "yoghurt", "whiskey": "whisky", "catalog": "catalogue",
    "traveler": "traveller",
}  # fmt: skip
AMERICAN = {british: american for american, british in BRITISH.items()}

MISSPELLINGS = (
    (r"ie", "ei"), (r"(?<!^)ei", "ie"),  # chief, receive
    (r"([b-df-hj-np-tv-z])\1", r"\1"),  # rabbit
    (r"ph", "f"), (r"^kn", "n"), (r"^wr", "r"), (r"^gn", "n"), (r"^ps", "s"), (r"^rh", "r"), (r"mb$", "m"),  # silent letters
    (r"ck", "k"), (r"ey$", "y"), (r"ant$", "ent"), (r"ent$", "ant"), (r"or$", "er"), (r"ar$", "er"), (r"le$", "el"),
    (r"(?<=[aeiou])([lmnprt])(?=[aeiou])", r"\1\1"),  # violin
)  # fmt: skip
"""Pattern -> substitute for its first occurrence in a word."""

OTHER_WORDS = {
    "angel", "angle", "bare", "batter", "beast", "beats", "biter", "bitter", "calvary", "cannon", "canon", "carat",
    "carrot", "casual", "causal", "cavalry", "coma", "comma", "coral", "corral", "cuter", "cutter", "dairy", "desert",
    "dessert", "diary", "diner", "dinner", "filing", "filling", "furry", "fury", "holly", "holy", "hoping", "hopping",
    "late", "later", "latte", "latter", "liter", "litter", "marital", "martial", "mater", "matter", "medal", "metal",
    "mettle", "pedal", "petal", "planed", "planned", "quiet", "quite", "really", "rely", "sacred", "scared", "silver",
    "sliver", "staring", "starring", "super", "supper", "taping", "tapping", "tired", "trail", "trial", "tried", "united",
    "untied", "wining", "winning",
}  # fmt: skip
"""Words that the rules turn into one another, and which are not used as misspellings."""


def spelling_variants(
    name: str, kind: ConceptKind, tokenizer: TokenizerCache, reserved: Collection[Words], limit: int
) -> list[str]:
    """Return at most ``limit`` variants of ``name`` whose tokens differ from the name's and from one another.

    Args:
        name: the name to vary.
        kind: whether it names an object or a style.
        tokenizer: tokenizes the variants.
        reserved: names that mean something else, which no variant may equal.
        limit: maximum number of variants.
    """
    candidates = [name, *chain(joined_forms(name), inflections(name, kind), misspellings(name, tokenizer))]
    free = [text for text in dict.fromkeys(candidates) if text == name or normalize_words(text) not in reserved]
    encoded = zip(free, tokenizer.encode(free), strict=True)
    distinct = {tuple(tokens.ids): text for text, tokens in reversed(list(encoded))}
    return [text for text in free if text in distinct.values() and text != name][:limit]


def split_words(name: str) -> list[str]:
    """Split a name at spaces, hyphens and underscores."""
    return [part for part in re.split(r"[\s_-]+", name) if part]


def joined_forms(name: str) -> Iterator[str]:
    """Yield forms with the same letters, joined in other ways."""
    words = split_words(name)
    if len(words) > 1:
        yield from (joint.join(words) for joint in ("", "-", " ", "_"))
        yield "@" + "".join(words)
    plain = "".join(char for char in unicodedata.normalize("NFD", name) if not unicodedata.combining(char))
    yield plain


def inflections(name: str, kind: ConceptKind) -> Iterator[str]:
    """Yield plural or singular, possessive, and British or American spelling."""
    if kind == "object":
        yield from other_number(name)
    if re.search(r"[A-Za-z]$", name):
        yield f"{name}'" if name.endswith("s") else f"{name}'s"
    yield re.sub(r"\w+", lambda word: BRITISH.get(word[0], AMERICAN.get(word[0], word[0])), name)


def other_number(name: str) -> Iterator[str]:
    """Yield the plural of a name, or the singular of a plural: of its last word, unless that is not in plain letters.

    A name of several capitalised words is taken for a proper name, which has none.
    """
    words = split_words(name)
    last = re.search(r"(?:^|(?<=[\s_-]))[A-Za-z]+$", name)
    if last and not (len(words) > 1 and all(word[0].isupper() for word in words)):
        yield name[: last.start()] + match_case(last[0], swap_number(last[0].lower()))


def match_case(model: str, word: str) -> str:
    """Return ``word`` in capitals, capitalised or in lower case, as ``model`` is."""
    if len(model) > 1 and model.isupper():
        return word.upper()
    return word.capitalize() if model[0].isupper() else word


def swap_number(word: str) -> str:
    """Turn singular into plural and vice versa: ``fox`` -> ``foxes``, ``leaves`` -> ``leaf``."""
    singular = {plural: one for one, plural in IRREGULAR_PLURALS.items()}
    if word in INVARIANT_PLURALS:
        return word
    if word in IRREGULAR_PLURALS or word in singular:
        return IRREGULAR_PLURALS.get(word) or singular[word]
    if re.search(r"(ss|x|ch|sh)es$", word):
        return word[:-2]
    if re.search(r"[^aeiou]ies$", word):
        return word[:-3] + "y"
    if len(word) > 3 and re.search(r"[^suia]s$", word):
        return word[:-1]
    if re.search(r"(s|x|z|ch|sh)$", word):
        return word + "es"
    return word[:-1] + "ies" if re.search(r"[^aeiou]y$", word) else word + "s"


def misspellings(name: str, tokenizer: TokenizerCache) -> Iterator[str]:
    """Yield variants with one misspelled word, alternating between the words."""
    words = [match for match in re.finditer(r"[^\W\d_]+", name) if len(match[0]) >= MIN_MISSPELLED_LETTERS]
    texts = (
        [name[: word.start()] + text + name[word.end() :] for text in misspell_word(word[0], tokenizer)]
        for word in words
    )
    return (text for turn in zip_longest(*texts) for text in turn if text)


def misspell_word(word: str, tokenizer: TokenizerCache) -> list[str]:
    """Return misspellings of a word that are not other words: by rule, or with two adjacent letters near its middle swapped."""
    ruled = (re.sub(pattern, substitute, word, count=1, flags=re.IGNORECASE) for pattern, substitute in MISSPELLINGS)
    middle = sorted(range(1, len(word) - 2), key=lambda i: (abs(2 * i + 2 - len(word)), i))
    swapped = (word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in middle[:MAX_SWAPS])
    texts = [text for text in dict.fromkeys(chain(ruled, swapped)) if text != word and text.lower() not in OTHER_WORDS]
    return [text for text, encoded in zip(texts, tokenizer.encode(texts), strict=True) if not encoded.is_single_token]
