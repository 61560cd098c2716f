"""Looks at a server and at the machine that it is to run on, and says what is wrong with them."""

from .certificates import look_at_certificates, look_at_secret_file
from .examination import examine
from .finding import Finding, State

__all__ = ["Finding", "State", "examine", "look_at_certificates", "look_at_secret_file"]
