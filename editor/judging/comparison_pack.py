"""The packed images of a comparison. Importing this module imports neither a judge nor the generation of images."""

from pydantic import BaseModel, ConfigDict

from api_schemas.comparisons import Comparison


class ComparisonPack(BaseModel):
    """The index and the ZIP file with the images."""

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", frozen=True)

    index: Comparison
    images: bytes
