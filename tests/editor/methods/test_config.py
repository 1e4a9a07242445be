from api_schemas.edits import EditOptions
from editor.methods.config import MethodConfig, method_from_options


def test_options_and_reason_for_the_layers_are_copied() -> None:
    options = EditOptions(aim="residual", preservation=3.0, pins=["an owl"])
    expected = MethodConfig(
        aim="residual", preservation=3.0, pins=("an owl",), layers=(0, 2), layer_choice="as requested"
    )
    assert method_from_options(options, (0, 2), "as requested") == expected
