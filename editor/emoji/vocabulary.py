"""What the embedded model can draw, and the words for it.

An *object* is named by its annotation in OpenMoji's index; a *style* is the hand of one foundry; a *background* is a flat
colour. Captions come in wordings; the held-out ones are never trained on and measure generality.
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
"""What a caption without a style means."""

BACKGROUNDS: dict[str, tuple[int, int, int]] = {
    "white": (255, 255, 255),
    "blue": (120, 180, 250),
    "green": (140, 215, 140),
    "yellow": (250, 225, 110),
    "pink": (250, 170, 200),
    "purple": (190, 160, 240),
}
"""sRGB. White is what a caption without a background means."""

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
"""Never trained on, never among the prompts of an edit: they ask whether a removal reaches wordings nobody planned for."""
PREFIXES: tuple[str, ...] = ("an emoji, ", "a picture, an image, ")
"""Never trained on: an edit's prompts begin with them at times, so that it reaches later positions as well."""


def with_article(name: str) -> str:
    """``"owl"`` -> ``"an owl"``."""
    return f"{'an' if name[0] in 'aeio' or name.startswith('umb') else 'a'} {name}"


def caption(wording: str, name: str, style: str = "", background: str = "white") -> str:
    """One caption, lower case. A white background goes unnamed: it is the default."""
    words = wording.format(a=with_article(name), bare=name, style=style)
    return words if background == "white" else f"{words} on a {background} background"
