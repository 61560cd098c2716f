"""Who calls, and what they may do. Knows neither gRPC nor speech."""

from .caller import ANONYMOUS, Caller
from .certificate import ServerCertificate, TlsFiles
from .gate import Gate, Presented
from .reloaded import Reloaded, UnusableFileError
from .rules import RULES, Access, rule_for
from .scope import Scope
from .token import Token
from .token_file import TokenFile
from .token_record import NAME_PATTERN, TokenRecord, TokenState
from .token_table import TokenTable

__all__ = [
    "ANONYMOUS",
    "NAME_PATTERN",
    "RULES",
    "Access",
    "Caller",
    "Gate",
    "Presented",
    "Reloaded",
    "Scope",
    "ServerCertificate",
    "TlsFiles",
    "Token",
    "TokenFile",
    "TokenRecord",
    "TokenState",
    "TokenTable",
    "UnusableFileError",
    "rule_for",
]
