"""The Piper engine: VITS voices on any CPU, through the package `piper-tts`."""

from .engine import PiperEngine

__all__ = ["PiperEngine"]
