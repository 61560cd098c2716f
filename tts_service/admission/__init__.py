"""Who may use an engine, and when: places, a short line, promises to those who are refused, quotas.

Knows neither gRPC nor any engine.
"""

from .admission import Admission
from .caller import Caller
from .gate import Gate
from .place import Place
from .quotas import Quotas

__all__ = ["Admission", "Caller", "Gate", "Place", "Quotas"]
