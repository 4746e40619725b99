"""What a configuration may say about a keystore of each type. Pure."""

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, field

from certagent.config.file_roles import FileRole, Swap
from certagent.config.introduction import Introduction
from certagent.config.key_types import IN_TOKENS, WITH_PKCS1, KeyType
from certagent.config.parts import Definition, Hooks, Probe, Secret
from certagent.config.values import (
    AcceptedName,
    Account,
    AlternativeName,
    AuthorityName,
    Duration,
    Fraction,
    KeyUsage,
    Label,
    Loss,
    Mode,
    Purpose,
    ReadFile,
    Subject,
    Threshold,
    Token,
    WrittenDirectory,
    WrittenFile,
)
from certagent.config.windows import Window
from certagent.pem_blocks import KeyFormat


class KeystoreDefaults(Definition, frozen=True, kw_only=True):
    """What every keystore may say; also the keys of `defaults`."""

    authority: Annotated[AuthorityName, Meta(description="the name of one of the authorities")] = ""
    renew_at: Annotated[
        Threshold, Meta(description="how much of the lifetime has passed (default 66%), or time left (30d)")
    ] = field(default_factory=lambda: Threshold(passed=Fraction(0.66)))
    key_type: Annotated[KeyType, Meta(description="type of new keys")] = KeyType.RSA_2048
    rekey: Annotated[Literal["always", "never"], Meta(description="never: renewals keep the current key")] = "always"
    jitter: Annotated[
        Fraction,
        Meta(description="renew up to this share of the lifetime earlier; fixed per keystore and host; default 5%"),
    ] = field(default_factory=lambda: Fraction(0.05))
    hooks: Annotated[Hooks, Meta(description="commands to run at events (docs/hooks.md)")] = Hooks()
    activate_in: Annotated[
        tuple[Window, ...],
        Meta(description="when the swap and its hooks may happen, in the host's local time: Sat-Sun 02:00-05:00"),
    ] = ()
    owner: Annotated[Account | None, Meta(description="user name or number; default: that of the file in place")] = None
    group: Annotated[Account | None, Meta(description="group name or number; default: that of the file in place")] = (
        None
    )
    accept_names: Annotated[
        tuple[AcceptedName, ...],
        Meta(description="names that the CA may add to the requested ones, e.g. dns:*.corp.example"),
    ] = ()
    when_revoked: Annotated[
        Literal["alarm", "enroll"],
        Meta(description="what follows once a CRL has the certificate in place; enroll: as if there were none yet"),
    ] = "alarm"
    may_lose: Annotated[
        tuple[Loss, ...],
        Meta(description="names, usages or purposes that a new certificate may lack"),
    ] = ()
    mode: Annotated[
        Mode | None, Meta(description='mode of the key file; default: that of the file in place, else "0600"')
    ] = None


class KeystoreCommon(KeystoreDefaults, frozen=True, kw_only=True):
    """What a keystore of any type may say, but no `defaults`.

    Each type has three properties besides its keys:

    `paths`       the files that a swap replaces, by role
    `hook_paths`  the files that hooks are told of, by the words key, certificate, chain and ca; empty if there is none
    `secrets`     the secrets that the driver reads, by the key they are configured under
    """

    subject: Annotated[Subject | None, Meta(description="RFC 4514 name, for the first enrollment")] = None
    san: Annotated[tuple[AlternativeName, ...], Meta(description="names, likewise", max_length=250)] = ()
    key_usage: Annotated[
        tuple[KeyUsage, ...], Meta(description="key usages for the first enrollment; renewals keep those in place")
    ] = ()
    extended_key_usage: Annotated[
        tuple[Purpose, ...], Meta(description="purposes or OIDs for the first enrollment")
    ] = ()
    introduce_with: Annotated[
        Introduction | None,
        Meta(description="a factory identity that signs first enrollments, instead of the authority's"),
    ] = None
    template: Annotated[str | None, Meta(description="Microsoft template: its name, or OID:major:minor")] = None
    check_subject: Annotated[
        Literal["exact", "key"], Meta(description="key: the CA may change the subject, only the key must match")
    ] = "exact"
    ca_file: Annotated[
        WrittenFile | None, Meta(description="trusted CA certificates, current and next, for the consumer's peers")
    ] = None
    ca_directory: Annotated[
        WrittenDirectory | None,
        Meta(description="directory for the same certificates, one file each, named HASH.0 as by `openssl rehash`"),
    ] = None
    crl_file: Annotated[
        WrittenFile | None, Meta(description="PEM file for the CRLs of the authority's CAs, like its own crl_file")
    ] = None
    crl_directory: Annotated[
        WrittenDirectory | None,
        Meta(description="directory for the same CRLs, one file each, named HASH.r0 as by `openssl rehash`"),
    ] = None
    probe: Annotated[
        Probe | None, Meta(description="after the post hooks, check which certificate the consumer serves")
    ] = None

    @property
    def says_whom(self) -> bool:
        """Whether it can be enrolled: by a subject, alternative names, or both."""
        return self.subject is not None or bool(self.san)


class PemKeystore(KeystoreCommon, frozen=True, kw_only=True, tag_field="type", tag="pem"):
    """An identity in PEM files."""

    key_file: Annotated[WrittenFile, Meta(description="the private key")]
    certificate_file: Annotated[
        WrittenFile, Meta(description="the certificate; the same path as key_file = one combined file")
    ]
    certificate_format: Annotated[
        Literal["leaf", "fullchain"], Meta(description="fullchain: the certificate, then the CA's chain")
    ] = "fullchain"
    chain_file: Annotated[WrittenFile | None, Meta(description="the chain without the certificate itself")] = None
    key_format: Annotated[
        KeyFormat | None,
        Meta(
            description="format of the key; pkcs1 means SEC 1 for EC keys; default: that of the key in "
            "place, else pkcs8"
        ),
    ] = None
    key_passphrase: Annotated[Secret | None, Meta(description="passphrase that encrypts the key file")] = None
    swap: Annotated[Swap | None, Meta(description="how new files replace the old ones; see docs/swap.md")] = None

    def __post_init__(self) -> None:
        if self.key_format == "pkcs1" and not _is_one_of(self.key_type, WITH_PKCS1):
            raise ValueError(f"cannot write {self.key_type} keys as pkcs1; use key_format: pkcs8, their only form")

    @property
    def paths(self) -> dict[FileRole, Path]:
        """By role. A combined file has the role `key`, and there is no `certificate`."""
        return _given(
            {
                FileRole.KEY: self.key_file,
                FileRole.CERTIFICATE: None if self.combined else self.certificate_file,
                FileRole.CHAIN: self.chain_file,
                FileRole.CA: self.ca_file,
            }
        )

    @property
    def hook_paths(self) -> dict[str, str]:
        return _words(key=self.key_file, certificate=self.certificate_file, chain=self.chain_file, ca=self.ca_file)

    @property
    def secrets(self) -> dict[str, Secret]:
        return {"key_passphrase": self.key_passphrase} if self.key_passphrase else {}

    @property
    def combined(self) -> bool:
        return self.key_file == self.certificate_file


class Pkcs12Keystore(KeystoreCommon, frozen=True, kw_only=True, tag_field="type", tag="pkcs12"):
    """An identity in a PKCS#12 file, which may hold other entries besides."""

    file: Annotated[WrittenFile, Meta(description="the PKCS#12 file: key, certificate and chain")]
    password: Annotated[Secret, Meta(description="password that encrypts the file")]
    friendly_name: Annotated[
        Label | None,
        Meta(description="name of the entry (Java: its alias); default: as in the file, else the keystore's name"),
    ] = None
    swap: Annotated[
        Literal["rename", "in-place"] | None,
        Meta(description="how the new file replaces the old one; see docs/swap.md"),
    ] = None

    @property
    def paths(self) -> dict[FileRole, Path]:
        return _given({FileRole.PKCS12: self.file, FileRole.CA: self.ca_file})

    @property
    def hook_paths(self) -> dict[str, str]:
        return _words(key=self.file, certificate=self.file, chain=None, ca=self.ca_file)

    @property
    def secrets(self) -> dict[str, Secret]:
        return {"password": self.password}


class Snippet(Definition, frozen=True, kw_only=True):
    """A piece of a consumer's configuration, written at each swap: $uri, $certificate_file … are filled in."""

    template: Annotated[ReadFile, Meta(description="a text with $uri, $certificate_file … as placeholders")]
    file: Annotated[WrittenFile, Meta(description="where the filled-in text is written")]


class Pkcs11Keystore(KeystoreCommon, frozen=True, kw_only=True, tag_field="type", tag="pkcs11"):
    """An identity whose key lives in a PKCS#11 token; a pointer outside the token says which key it is."""

    module: Annotated[ReadFile, Meta(description="the PKCS#11 module, a shared library")]
    token: Annotated[Token, Meta(description="label, serial:NUMBER, or a pkcs11: URI")]
    pin: Annotated[Secret, Meta(description="the user PIN of the token")]
    uri_file: Annotated[
        WrittenFile, Meta(description="holds the RFC 7512 URI of the active key, for consumers to read")
    ]
    key_file: Annotated[
        WrittenFile | None,
        Meta(description="a PEM file that leads OpenSSL's pkcs11-provider to the key; may be certificate_file's path"),
    ] = None
    certificate_file: Annotated[WrittenFile | None, Meta(description="the certificate, as PEM")] = None
    certificate_format: Annotated[
        Literal["leaf", "fullchain"], Meta(description="fullchain: the certificate, then the CA's chain")
    ] = "fullchain"
    chain_file: Annotated[WrittenFile | None, Meta(description="the chain without the certificate itself")] = None
    snippet: Annotated[Snippet | None, Meta(description="part of a consumer's configuration, made from a template")] = (
        None
    )
    label: Annotated[
        Label | None, Meta(description="label of the objects on the token; default: the keystore's name")
    ] = None
    certificate_object: Annotated[bool, Meta(description="store the certificate on the token too, beside its key")] = (
        True
    )
    retire_after: Annotated[
        Duration, Meta(description="how long the old key stays on the token after the post hooks; default 1h")
    ] = field(default_factory=lambda: Duration(hours=1))
    swap: Annotated[Swap | None, Meta(description="how new files replace the old ones; see docs/swap.md")] = None

    def __post_init__(self) -> None:
        if self.certificate_file is None and not self.certificate_object:
            raise ValueError(
                "has nowhere to keep the certificate; add certificate_file, or set certificate_object: true"
            )
        if not _is_one_of(self.key_type, IN_TOKENS):
            raise ValueError(
                f"has key_type {self.key_type}, which certagent cannot make in a token; tokens hold RSA and EC keys"
            )

    @property
    def paths(self) -> dict[FileRole, Path]:
        return _given(
            {
                FileRole.URI: self.uri_file,
                FileRole.KEY: None if self.combined else self.key_file,
                FileRole.CERTIFICATE: self.certificate_file,
                FileRole.CHAIN: self.chain_file,
                FileRole.CA: self.ca_file,
                FileRole.SNIPPET: self.snippet.file if self.snippet else None,
            }
        )

    @property
    def combined(self) -> bool:
        """Whether one file holds the certificate and what leads to its key."""
        return self.key_file is not None and self.key_file == self.certificate_file

    @property
    def hook_paths(self) -> dict[str, str]:
        return _words(key=self.uri_file, certificate=self.certificate_file, chain=self.chain_file, ca=self.ca_file)

    @property
    def secrets(self) -> dict[str, Secret]:
        return {"pin": self.pin}


def _is_one_of(key_type: object, families: Collection[str]) -> bool:
    """Also for a word that is no key type at all, which was reported."""
    return not isinstance(key_type, KeyType) or key_type.family in families


def _given(files: dict[FileRole, str | None]) -> dict[FileRole, Path]:
    return {role: Path(file) for role, file in files.items() if file}


def _words(**files: str | None) -> dict[str, str]:
    return {word: file or "" for word, file in files.items()}


KeystoreDefinition = PemKeystore | Pkcs12Keystore | Pkcs11Keystore
