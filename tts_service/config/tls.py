"""The settings of TLS."""

from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import NoDecode

from ..identity import Scope, TlsFiles
from .group import Group, OptionalPath

__all__ = ["TlsSettings"]


class TlsSettings(Group):
    """TLS of the public listener."""

    certificate_file: OptionalPath = Field(
        None, description="PEM: the server's certificate, and those between it and its authority"
    )
    key_file: OptionalPath = Field(None, description="PEM: its private key, without a password")
    client_ca_file: OptionalPath = Field(
        None, description="PEM: authorities of clients; clients then need a certificate by one"
    )
    client_scopes: Annotated[tuple[Scope, ...], NoDecode] = Field(
        (Scope.SPEAK,),
        description="what a client's certificate allows; empty: nothing without a token",
    )
    plaintext_on_network: bool = Field(
        False, description="whether calls, and tokens, may cross a network unencrypted"
    )

    @field_validator("client_scopes", mode="before")
    @classmethod
    def _split_scopes(cls, value: object) -> object:
        """`TTS_TLS__CLIENT_SCOPES=speak,voices`."""
        if not isinstance(value, str):
            return value
        return [name.strip() for name in value.split(",") if name.strip()]

    @model_validator(mode="after")
    def _go_together(self) -> Self:
        if (self.certificate_file is None) is not (self.key_file is None):
            raise ValueError("certificate_file and key_file go together")
        if self.client_ca_file is not None and self.certificate_file is None:
            raise ValueError("client_ca_file needs certificate_file and key_file")
        return self

    @property
    def files(self) -> TlsFiles | None:
        """Where the certificate lies; None without TLS."""
        if self.certificate_file is None or self.key_file is None:
            return None
        return TlsFiles(self.certificate_file, self.key_file, self.client_ca_file)
