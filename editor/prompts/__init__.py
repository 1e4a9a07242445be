"""From concepts to prompts: profiles, wordings, and pairs of prompts aligned token by token."""

from editor.prompts.concepts import Concept, Destination, ResolvedRemoval, choose_destination
from editor.prompts.name_expansion import ConceptName, NameExpansion, expand_names
from editor.prompts.profile import Profile, load_profile
from editor.prompts.prompt_builder import PromptBuilder, open_prompt_builder, open_prompt_builders, pair_encoders
from editor.prompts.token_alignment import PromptPair, TokenizedPrompt, align_tokens
from editor.prompts.token_conflicts import find_conflicts, label_removal

__all__ = [
    "Concept",
    "ConceptName",
    "Destination",
    "NameExpansion",
    "Profile",
    "PromptBuilder",
    "PromptPair",
    "ResolvedRemoval",
    "TokenizedPrompt",
    "align_tokens",
    "choose_destination",
    "expand_names",
    "find_conflicts",
    "label_removal",
    "load_profile",
    "open_prompt_builder",
    "open_prompt_builders",
    "pair_encoders",
]
