"""A gRPC service that speaks: the front (`server`) and its engines' workers (`engines`)."""

from importlib.metadata import version

__all__ = ["__version__"]

__version__ = version("tts-service")
