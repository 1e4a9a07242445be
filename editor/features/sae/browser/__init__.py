"""The feature browser: one HTML file for an autoencoder, which needs no network."""

from editor.features.sae.browser.contents import Browsable
from editor.features.sae.browser.page import write

__all__ = ["Browsable", "write"]
