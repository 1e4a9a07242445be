"""Silence diffusers and transformers, whose progress bars and advice would break the output of our commands."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Disable the progress bars and warnings of both libraries while models are loaded.

    What they warn of is either checked and raised as an error, such as missing tensors, or harmless.
    """
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    modules = (diffusers_logging, transformers_logging)
    with_bars = [module for module in modules if module.is_progress_bar_enabled()]
    levels = [module.get_verbosity() for module in modules]
    for module in modules:
        module.disable_progress_bar()
        module.set_verbosity_error()
    try:
        yield
    finally:
        for module in with_bars:
            module.enable_progress_bar()
        for module, level in zip(modules, levels, strict=True):
            module.set_verbosity(level)
