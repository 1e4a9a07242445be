"""A concept -> prompts: what the model is known to draw, the wordings, and pairs of prompts aligned token by token."""

from editor.prompts.concepts import Concept, Destination, Removal, destination_of
from editor.prompts.name_expansion import Expansion, Name, expand
from editor.prompts.profile import Profile, load_profile
from editor.prompts.prompt_builder import PromptBook, open_book, open_books
from editor.prompts.token_alignment import Pair, Tokenised, aligned_columns
from editor.prompts.token_conflicts import find_conflicts

__all__ = [
    "Concept",
    "Destination",
    "Expansion",
    "Name",
    "Pair",
    "Profile",
    "PromptBook",
    "Removal",
    "Tokenised",
    "aligned_columns",
    "destination_of",
    "expand",
    "find_conflicts",
    "load_profile",
    "open_book",
    "open_books",
]
