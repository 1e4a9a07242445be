"""The feature browser: a self-contained HTML page of an autoencoder's latents."""

from editor.features.browser.latent_cards import BrowserInput
from editor.features.browser.page import write_browser_page

__all__ = ["BrowserInput", "write_browser_page"]
