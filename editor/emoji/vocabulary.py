"""The vocabulary of the embedded model: objects, styles, backgrounds and caption wordings.

An *object* has its annotation in OpenMoji's index as a name; a *style* is the artwork of one foundry; a *background* is a
flat color. Held-out wordings are not in the training data and measure generalization.
"""

OBJECTS: dict[str, tuple[str, ...]] = {
    "animals": (
        "fox", "frog", "penguin", "dog face", "cat face", "tiger face", "rabbit", "bear", "panda", "koala", "lion", "horse",
        "elephant", "giraffe", "owl", "peacock", "flamingo", "butterfly", "snail", "lady beetle", "octopus", "crab",
        "tropical fish", "spouting whale", "dolphin", "turtle", "snake", "unicorn", "hedgehog", "spider",
    ),
    "food": (
        "pizza", "hamburger", "hot dog", "taco", "doughnut", "birthday cake", "soft ice cream", "croissant", "cheese wedge",
        "strawberry", "banana", "lemon", "pineapple", "watermelon", "avocado", "carrot", "ear of corn", "hot pepper",
    ),
    "plants": ("mushroom", "cactus", "sunflower", "tulip", "palm tree", "evergreen tree", "four leaf clover", "maple leaf"),
    "things": (
        "guitar", "trumpet", "drum", "key", "light bulb", "umbrella", "balloon", "gem stone", "crown", "top hat", "violin",
        "magnet", "hammer", "television", "camera", "bell", "basketball", "wrapped gift",
    ),
    "vehicles": (
        "rocket", "automobile", "fire engine", "locomotive", "bicycle", "sailboat", "airplane", "helicopter", "tractor",
    ),
    "faces": ("robot", "skull", "alien", "clown face", "grinning face", "jack-o-lantern"),
    "sky": ("sun", "rainbow", "crescent moon", "star", "cloud", "high voltage", "fire"),
}  # fmt: skip
OBJECT_NAMES: tuple[str, ...] = tuple(name for names in OBJECTS.values() for name in names)
STYLES: tuple[str, ...] = ("openmoji", "twemoji", "noto", "fluent", "ink")
DEFAULT_STYLE = "twemoji"
"""The style of captions that do not name one."""
STYLE_REPLACEMENTS = {"ink": "openmoji", "openmoji": "ink", "noto": "fluent"}
"""Where another style than the default one changes other prompts less. ink and openmoji are both drawn in black lines: an edit
that maps ink to flat color spoils a quarter of the objects."""
DIT_STYLE_REPLACEMENTS = {"ink": "openmoji", "openmoji": "ink", "noto": "openmoji", "fluent": "openmoji"}
"""The same in `emoji-dit`, which reads text through other keys."""

BACKGROUNDS: dict[str, tuple[int, int, int]] = {
    "white": (255, 255, 255),
    "blue": (120, 180, 250),
    "green": (140, 215, 140),
    "yellow": (250, 225, 110),
    "pink": (250, 170, 200),
    "purple": (190, 160, 240),
}
"""sRGB. White is the background of captions that do not name one."""

STYLED_WORDINGS: tuple[str, ...] = (
    "{a} in the style of {style}",
    "{style} style {bare}",
    "a {style} emoji of {a}",
    "{a}, {style}",
    "a picture of {a} in the style of {style}",
    "an image of {a}, {style} style",
)
PLAIN_WORDINGS: tuple[str, ...] = (
    "{a}",
    "{bare}",
    "a picture of {a}",
    "an image of {a}",
    "a photo of {a}",
    "an emoji of {a}",
)
HELD_OUT_WORDINGS: tuple[str, ...] = (
    "a picture of {a}, {style} style",
    "an image of {a} in the style of {style}",
    "{style} style picture of {a}",
    "an emoji of {a}, {style}",
)
"""In neither the training data nor the prompts of an edit; they test whether a removal generalizes to unseen wordings."""
PREFIXES: tuple[str, ...] = ("an emoji, ", "a picture, an image, ")
"""Not in the training data. Some prompts of an edit start with them, so that the edit also covers later token positions."""


def with_article(name: str) -> str:
    """Prefix a name with its indefinite article: ``"owl"`` -> ``"an owl"``."""
    return f"{'an' if name[0] in 'aeio' or name.startswith('umb') else 'a'} {name}"


def caption(wording: str, name: str, style: str = "", background: str = "white") -> str:
    """Return a lower-case caption. A white background is not named, since it is the default."""
    words = wording.format(a=with_article(name), bare=name, style=style)
    return words if background == "white" else f"{words} on a {background} background"
