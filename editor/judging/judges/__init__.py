"""Kinds of judges: one file with one registered class each.

Another distribution brings its own by an entry point of the group ``expunge.judges``, named by the ``model_type`` that its
folder's ``config.json`` says.
"""

from editor.judging.judges.clip import ClipJudge
from editor.judging.judges.siglip import SiglipJudge

BUILT_IN = {judge.model_type: judge for judge in (ClipJudge, SiglipJudge)}
