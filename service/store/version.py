"""The version of Expunge that runs."""

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("expunge")
except PackageNotFoundError:  # a checkout that is not installed
    VERSION = "0+unknown"
