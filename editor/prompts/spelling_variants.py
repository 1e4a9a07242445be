"""Other ways to write a name, of those that the tokenizer tells apart from it.

Rules, no dictionary: forms that keep every letter come first (joined, hyphenated, as a handle, without accents), then plural
and possessive, then British or American, then frequent misspellings. A misspelling that is a word of its own is left out: the
list below has the usual ones, and a word that CLIP's tokenizer knows whole was frequent in its training text.
"""

import re
import unicodedata
from collections.abc import Collection, Iterator
from itertools import chain, zip_longest

from api_schemas.conflicts import Words, normalize_words
from editor.prompts.concepts import Kind
from editor.prompts.tokenizer_cache import Tokens

SHORTEST = 5
"""Letters of a word that is misspelt at all: shorter ones turn into one another."""
SWAPS = 2

IRREGULAR = {
    "mouse": "mice", "man": "men", "woman": "women", "child": "children", "goose": "geese", "foot": "feet", "tooth": "teeth",
    "person": "people", "ox": "oxen", "wolf": "wolves", "leaf": "leaves", "knife": "knives", "elf": "elves", "loaf": "loaves",
    "thief": "thieves", "scarf": "scarves", "hoof": "hooves", "shelf": "shelves", "calf": "calves", "cactus": "cacti",
}  # fmt: skip
INVARIANT = {
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
"""Pattern -> what writes itself in its place; the first occurrence in a word."""

OTHER_WORDS = {
    "angel", "angle", "bare", "batter", "beast", "beats", "biter", "bitter", "calvary", "cannon", "canon", "carat",
    "carrot", "casual", "causal", "cavalry", "coma", "comma", "coral", "corral", "cuter", "cutter", "dairy", "desert",
    "dessert", "diary", "diner", "dinner", "filing", "filling", "furry", "fury", "holly", "holy", "hoping", "hopping",
    "late", "later", "latte", "latter", "liter", "litter", "marital", "martial", "mater", "matter", "medal", "metal",
    "mettle", "pedal", "petal", "planed", "planned", "quiet", "quite", "really", "rely", "sacred", "scared", "silver",
    "sliver", "staring", "starring", "super", "supper", "taping", "tapping", "tired", "trail", "trial", "tried", "united",
    "untied", "wining", "winning",
}  # fmt: skip
"""Words that the rules turn into one another."""


def spellings(name: str, kind: Kind, tokens: Tokens, taken: Collection[Words], limit: int) -> list[str]:
    """At most ``limit`` variants of ``name``, each of other tokens than the name and the variants before it.

    ``taken``: names that mean something else, so that no variant may be one of them.
    """
    candidates = [name, *chain(forms(name), inflections(name, kind), misspellings(name, tokens))]
    free = [text for text in dict.fromkeys(candidates) if text == name or normalize_words(text) not in taken]
    encoded = zip(free, tokens.encode(free), strict=True)
    distinct = {tuple(found.ids): text for text, found in reversed(list(encoded))}
    return [text for text in free if text in distinct.values() and text != name][:limit]


def parts(name: str) -> list[str]:
    """The words of a name, whatever joins them."""
    return [part for part in re.split(r"[\s_-]+", name) if part]


def forms(name: str) -> Iterator[str]:
    """All its letters, joined in other ways."""
    words = parts(name)
    if len(words) > 1:
        yield from (joint.join(words) for joint in ("", "-", " ", "_"))
        yield "@" + "".join(words)
    plain = "".join(char for char in unicodedata.normalize("NFD", name) if not unicodedata.combining(char))
    yield plain


def inflections(name: str, kind: Kind) -> Iterator[str]:
    """Plural or singular, the possessive, and the spelling across the Atlantic. Proper names have no plural."""
    last = parts(name)[-1] if parts(name) else ""
    if not (last.isascii() and last.isalpha()):
        return
    if kind == "object" and name == name.lower():
        yield name[: -len(last)] + other_number(last)
    yield f"{name}'" if name.endswith("s") else f"{name}'s"
    yield re.sub(r"\w+", lambda word: BRITISH.get(word[0], AMERICAN.get(word[0], word[0])), name)


def other_number(word: str) -> str:
    """``fox`` -> ``foxes``, ``leaves`` -> ``leaf``."""
    singular = {plural: one for one, plural in IRREGULAR.items()}
    if word in INVARIANT:
        return word
    if word in IRREGULAR or word in singular:
        return IRREGULAR.get(word) or singular[word]
    if re.search(r"(ss|x|ch|sh)es$", word):
        return word[:-2]
    if re.search(r"[^aeiou]ies$", word):
        return word[:-3] + "y"
    if len(word) > 3 and re.search(r"[^suia]s$", word):
        return word[:-1]
    if re.search(r"(s|x|z|ch|sh)$", word):
        return word + "es"
    return word[:-1] + "ies" if re.search(r"[^aeiou]y$", word) else word + "s"


def misspellings(name: str, tokens: Tokens) -> Iterator[str]:
    """One word at a time misspelt; the words take turns."""
    words = [match for match in re.finditer(r"[^\W\d_]+", name) if len(match[0]) >= SHORTEST]
    texts = ([name[: word.start()] + text + name[word.end() :] for text in wrong(word[0], tokens)] for word in words)
    return (text for turn in zip_longest(*texts) for text in turn if text)


def wrong(word: str, tokens: Tokens) -> list[str]:
    """Ways to misspell a word that don't make another one: by rule, or two neighbours swapped near its middle."""
    ruled = (re.sub(pattern, wrongly, word, count=1, flags=re.IGNORECASE) for pattern, wrongly in MISSPELLINGS)
    middle = sorted(range(1, len(word) - 2), key=lambda i: (abs(2 * i + 2 - len(word)), i))
    swapped = (word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in middle[:SWAPS])
    texts = [text for text in dict.fromkeys(chain(ruled, swapped)) if text != word and text.lower() not in OTHER_WORDS]
    return [text for text, encoded in zip(texts, tokens.encode(texts), strict=True) if not encoded.whole]
