"""The feature browser: one HTML file for an autoencoder, which needs no network."""

from editor.features.browser.latent_cards import Browsable
from editor.features.browser.page import write

__all__ = ["Browsable", "write"]
