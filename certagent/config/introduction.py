"""What a configuration may say about a factory identity, which introduces a device to its CA. Pure.

It is read and never written, so it is no keystore: no path here is one that a swap replaces.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from certagent.config.parts import Definition, Secret
from certagent.config.values import Label, ReadFile, SecretFile

# The attributes of RFC 7512 §2.3 that say which token and which object; none of those after `?`, which may hold a PIN.
_WORDS = (
    "token|manufacturer|serial|model|id|object|type"
    "|slot-id|slot-description|slot-manufacturer|library-description|library-manufacturer|library-version"
)
KeyUri = Annotated[
    str,
    Meta(
        pattern=rf"^pkcs11:(?=(.*;)?id=[^;])(({_WORDS})=[^;?&\s]*(;(?!$)|$))+$",
        extra={
            "what": "a pkcs11: URI that names a key by its id, without a PIN",
            "hint": "write e.g. pkcs11:token=factory;id=%01; `pkcs11-tool --list-objects` shows the ID",
        },
    ),
]


class PemIntroduction(Definition, frozen=True, kw_only=True, tag_field="type", tag="pem"):
    """A factory identity in PEM files."""

    key_file: Annotated[SecretFile, Meta(description="its private key")]
    certificate_file: Annotated[
        ReadFile, Meta(description="its certificate, and the chain above it if that is in the same file")
    ]
    chain_file: Annotated[ReadFile | None, Meta(description="the chain, if it is in another file")] = None
    key_passphrase: Annotated[Secret | None, Meta(description="passphrase of the key file, if it is encrypted")] = None

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return self.certificate_file

    @property
    def secrets(self) -> dict[str, Secret]:
        return {"key_passphrase": self.key_passphrase} if self.key_passphrase else {}


class Pkcs12Introduction(Definition, frozen=True, kw_only=True, tag_field="type", tag="pkcs12"):
    """A factory identity in a PKCS#12 file."""

    file: Annotated[ReadFile, Meta(description="the PKCS#12 file: key, certificate and chain")]
    password: Annotated[Secret, Meta(description="password that encrypts the file")]
    friendly_name: Annotated[Label | None, Meta(description="name of the entry, if the file has several keys")] = None

    @property
    def place(self) -> str:
        return self.file

    @property
    def secrets(self) -> dict[str, Secret]:
        return {"password": self.password}


class TokenIntroduction(Definition, frozen=True, kw_only=True, tag_field="type", tag="pkcs11"):
    """A factory identity whose key is in a PKCS#11 token."""

    module: Annotated[ReadFile, Meta(description="the PKCS#11 module, a shared library")]
    uri: Annotated[KeyUri, Meta(description="RFC 7512 URI of the key: its token and its id")]
    pin: Annotated[Secret, Meta(description="the user PIN of the token")]
    certificate_file: Annotated[
        ReadFile | None,
        Meta(description="PEM file with its certificate; default: the certificate object with the key's id"),
    ] = None
    chain_file: Annotated[ReadFile | None, Meta(description="PEM file with the chain")] = None

    @property
    def place(self) -> str:
        return self.uri

    @property
    def secrets(self) -> dict[str, Secret]:
        return {"pin": self.pin}


Introduction = PemIntroduction | Pkcs12Introduction | TokenIntroduction
