import pytest

from editor.checkpoints import OutputProjection

OF_ATTENTION = OutputProjection(2)
OF_MLP = OutputProjection(2, of_mlp=True)


def test_output_projections_sort_as_they_run() -> None:
    maps = [OF_MLP, OutputProjection(10), OF_ATTENTION, OutputProjection(1, of_mlp=True)]
    assert sorted(maps) == [OutputProjection(1, of_mlp=True), OF_ATTENTION, OF_MLP, OutputProjection(10)]


@pytest.mark.parametrize("projection", [OF_ATTENTION, OF_MLP, OutputProjection(11, of_mlp=True)])
def test_output_projection_is_read_off_the_name_of_its_weight(projection: OutputProjection) -> None:
    assert OutputProjection.from_weight_name(projection.weight_name) == projection


@pytest.mark.parametrize(
    "name",
    [OF_MLP.bias_name, "text_model.encoder.layers.2.mlp.fc1.weight", "down_blocks.0.attentions.0.proj_out.weight", ""],
)
def test_other_tensors_are_no_output_projections(name: str) -> None:
    with pytest.raises(ValueError, match="is no output projection"):
        OutputProjection.from_weight_name(name)
