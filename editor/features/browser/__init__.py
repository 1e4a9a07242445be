"""The feature browser: one HTML file for an autoencoder, which needs no network."""

from editor.features.browser.latent_cards import BrowserInput
from editor.features.browser.page import write_browser_page

__all__ = ["BrowserInput", "write_browser_page"]
