"""The XTTS v2 engine: many callers at once from one model, each in a cloned voice.

Weights, tokenizer, conditioning and vocoder modules are upstream's (`coqui-tts`); the loop that
decodes is this package's own. `docs/xtts.md` explains it with pictures.
"""

from .engine import XttsEngine

__all__ = ["XttsEngine"]
