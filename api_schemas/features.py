"""Features of a base model: the autoencoders of its calibration, and the images that each feature responds to."""

from datetime import datetime
from typing import Literal, TypeAlias

from pydantic import Field

from api_schemas.base import Resource
from api_schemas.packed_images import PackedImage

FEATURES_FILE, FEATURE_IMAGES = "features.json", "features.zip"
"""Names of the published files of an autoencoder: the index of its features, and their images."""
AUTOENCODER_FILES = ("sae.json", "sae.safetensors")
"""Names of the files of an autoencoder: its configuration, and its weights."""
AUTOENCODER_WEIGHTS = AUTOENCODER_FILES[1]

FeatureKind: TypeAlias = Literal["object", "style"]
"""The kind of concepts that an autoencoder is read for."""


class FeatureLabel(Resource):
    """The most frequent label among the ten strongest images of a feature."""

    kind: FeatureKind
    name: str
    share: float = Field(description="Share of the ten images that have the label.")


class FeatureImages(Resource):
    """Images in which a feature is active. The three lists have the same order."""

    names: list[str] = Field(description="Names of the images.")
    activations: list[float] = Field(description="Strongest activation in each image.")
    captions: list[str] = Field(description="What the prompt of each image names.")


class Feature(Resource):
    """A latent of an autoencoder that is active in some image."""

    object: Literal["feature"] = "feature"
    latent: int = Field(description="Index of the latent.")
    density: float = Field(description="Share of positions at which the latent is active.")
    image_share: float = Field(description="Share of images in which the latent is active.")
    labels: list[FeatureLabel] = Field(description="Empty if the latent is active in fewer than ten images.")
    concepts: list[str] = Field(description="Concepts whose presence feature scores read from this latent.")
    top: FeatureImages = Field(description="The strongest images.")
    quantiles: FeatureImages = Field(description="Images at fixed quantiles of the activation, strongest first.")
    random: FeatureImages = Field(description="Random images in which it is active.")
    heatmap: str | None = Field(
        description="Name of a PNG with where it is active: a row for each of the three groups, eight maps in a row. None: "
        "not stored, because of its size."
    )


class FeatureIndex(Resource):
    """The index of an autoencoder's features: the contents of `features.json`."""

    kind: FeatureKind
    module: str
    timestep: int
    latents: int
    active: int = Field(description="Latents that are active at a position.")
    image_count: int
    scale: float = Field(description="Activation at which the colour scale of the heat maps ends.")
    features: list[Feature] = Field(description="By latent, without dead ones.")
    files: list[PackedImage] = Field(description="The images in `features.zip`.")


class Autoencoder(Resource):
    """A sparse autoencoder of a base model's activations, which a calibration has trained."""

    object: Literal["autoencoder"] = "autoencoder"
    model: str
    kind: FeatureKind = Field(description="The kind of concepts that it is read for.")
    module: str = Field(description="The module whose activations it encodes.", examples=["mid_block"])
    timestep: int = Field(description="Timestep that the images are noised to, of 1,000.")
    latents: int = Field(description="Size of the dictionary.")
    features: int = Field(description="Latents that are active in some image.")
    active: int = Field(description="Latents that are active at a position.")
    image_count: int = Field(description="Images that the features were read from.")
    known: int = Field(description="Concepts that the model draws and the judge recognises.")
    unexplained_variance: float = Field(description="Fraction of variance unexplained by the autoencoder.")
    probe_accuracy: float = Field(description="Accuracy of a linear probe on held-out images.")
    created_at: datetime
    digest: str | None = Field(
        default=None,
        description="SHA-256 of its weights; `place.digest` of feature scores in reports. Null if they are not published.",
    )
    features_url: str
