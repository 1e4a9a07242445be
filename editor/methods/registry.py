"""The methods by name: each maps what is removed and retained at a site to the update of that site."""

from collections.abc import Callable, Mapping

from api_schemas.edits import MethodName
from editor.methods import default, diff_quickfix, double_projections, oce, speed, uce
from editor.methods.layer_edit import LayerEdit
from editor.methods.solution import Solution

SOLVERS: Mapping[MethodName, Callable[[LayerEdit], Solution]] = {
    "default": default.solve,
    "diff_quickfix": diff_quickfix.solve,
    "uce": uce.solve,
    "oce": oce.solve,
    "double_projections": double_projections.solve,
    "speed": speed.solve,
}
