"""What a configuration may say: frozen definitions, made of the value types in values.py.

Pure: nothing here reads a file or a clock. The types are msgspec structs, so that the decoder, the
error messages and `certagent schema` all come from these very lines (docs/decisions.md, 1).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from certagent.config.values import (
    VALUE_TYPES,
    Account,
    AlternativeName,
    Argv,
    AuthorityName,
    Directory,
    Duration,
    Fingerprint,
    Fraction,
    KeyTransport,
    KeyType,
    KeyUsage,
    Label,
    Mode,
    Name,
    Purpose,
    ReadFile,
    SecretFile,
    Subject,
    Threshold,
    Token,
    Url,
    Variable,
    Weak,
    WrittenFile,
)

# The value types belong to the definitions: everybody imports them from here.
__all__ = [
    "VALUE_TYPES",
    "AlternativeName",
    "Duration",
    "Fingerprint",
    "Fraction",
    "KeyTransport",
    "KeyType",
    "Mode",
    "Name",
    "Subject",
    "Threshold",
    "Weak",
]

Swap = Literal["rename", "symlink"]


class _Definition(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base: immutable, by keyword, and strict about unknown keys."""


class Secret(_Definition, frozen=True, kw_only=True):
    """Where a secret is read at the moment it is needed: exactly one of file, env or command."""

    file: Annotated[SecretFile | None, Meta(description="a file holding the secret; one trailing newline is cut")] = (
        None
    )
    env: Annotated[Variable | None, Meta(description="an environment variable of the certagent process")] = None
    command: Annotated[Argv | None, Meta(description="an argv that prints the secret")] = None

    def __post_init__(self) -> None:
        given = [word for word in ("file", "env", "command") if getattr(self, word)]
        if len(given) != 1:
            raise ValueError(
                "does not name exactly one of file, env or command; write e.g. {file: /etc/certagent/secret}"
            )


class Authority(_Definition, frozen=True, kw_only=True):
    """A SCEP endpoint and what is trusted about it."""

    url: Annotated[Url, Meta(description="the SCEP URL, http:// or https://")]
    ca_identifier: Annotated[
        Annotated[str, Meta(min_length=1)] | None, Meta(description="the `message` of GetCACert; absent = not sent")
    ] = None
    fingerprint: Annotated[
        Fingerprint | tuple[Fingerprint, ...],
        Meta(description="digest of the CA certificate that is believed; a list is allowed"),
    ] = ()
    trust_anchor: Annotated[
        ReadFile | tuple[ReadFile, ...],
        Meta(description="PEM file of a root certificate that is believed; a list is allowed"),
    ] = ()
    challenge: Annotated[Secret | None, Meta(description="the challenge password")] = None
    send_challenge: Annotated[
        Literal["enrollment", "always"], Meta(description="always: some CAs want it on renewals too")
    ] = "enrollment"
    accept: Annotated[tuple[Weak, ...], Meta(description="weak algorithms still believed in replies")] = ()
    key_transport: Annotated[
        KeyTransport,
        Meta(description="how a request's encryption key travels; password: under the challenge, without RSA keys"),
    ] = "rsa"
    https_ca_file: Annotated[
        ReadFile | None, Meta(description="PEM file of the roots that an https:// url is believed from")
    ] = None
    https_client_certificate: Annotated[
        ReadFile | None, Meta(description="PEM file of a TLS client certificate for an https:// url")
    ] = None
    https_client_key: Annotated[SecretFile | None, Meta(description="PEM file of its key, not encrypted")] = None
    proxy: Annotated[Url | None, Meta(description="HTTP proxy URL")] = None
    timeout: Annotated[Duration, Meta(description="limit of one exchange; default 30s")] = field(
        default_factory=lambda: Duration(seconds=30)
    )
    poll_interval: Annotated[Duration, Meta(description="between polls of a pending request; default 5m")] = field(
        default_factory=lambda: Duration(minutes=5)
    )
    poll_limit: Annotated[Duration, Meta(description="how long a request may stay pending; default 7d")] = field(
        default_factory=lambda: Duration(days=7)
    )
    recipient: Annotated[
        ReadFile | None, Meta(description="PEM file: the RA certificate that requests are encrypted to")
    ] = None
    signer: Annotated[ReadFile | None, Meta(description="PEM file: the RA certificate that signs answers")] = None
    rollover_at: Annotated[
        Threshold, Meta(description="when to ask for the next CA: share of the CA's lifetime, or time before its end")
    ] = field(default_factory=lambda: Threshold(passed=Fraction(0.8)))
    next_fingerprint: Annotated[
        Fingerprint | tuple[Fingerprint, ...], Meta(description="a next CA a person has checked")
    ] = ()

    def __post_init__(self) -> None:
        if not self.fingerprint and not self.trust_anchor:
            raise ValueError("has neither fingerprint nor trust_anchor; add one: no CA is believed on first use")
        if (self.https_client_certificate is None) != (self.https_client_key is None):
            raise ValueError("has only one of https_client_certificate and https_client_key; give both or none")
        if (self.https_ca_file or self.https_client_key) and not self.url.startswith("https://"):
            raise ValueError("has https_ files beside an http:// url; write https://, or remove them")
        if self.key_transport == "password" and self.challenge is None:
            raise ValueError("has key_transport: password and no challenge; the challenge is that password")

    @property
    def client_certificate(self) -> tuple[Path, Path] | None:
        """Certificate and key for TLS; both or none."""
        if self.https_client_certificate is None or self.https_client_key is None:
            return None
        return Path(self.https_client_certificate), Path(self.https_client_key)

    @property
    def fingerprints(self) -> tuple[Fingerprint, ...]:
        return (self.fingerprint,) if isinstance(self.fingerprint, Fingerprint) else self.fingerprint

    @property
    def next_fingerprints(self) -> tuple[Fingerprint, ...]:
        named = self.next_fingerprint
        return (named,) if isinstance(named, Fingerprint) else named

    @property
    def trust_anchors(self) -> tuple[Path, ...]:
        return tuple(map(Path, (self.trust_anchor,) if isinstance(self.trust_anchor, str) else self.trust_anchor))


class HookCommand(_Definition, frozen=True, kw_only=True):
    """One command: an argv, never a shell, and how long it may take."""

    run: Annotated[Argv, Meta(description="the argv")]
    timeout: Annotated[Duration, Meta(description="default 60s")] = field(default_factory=lambda: Duration(seconds=60))


HookEntry = Argv | HookCommand


class Hooks(_Definition, frozen=True, kw_only=True):
    """Commands by event; each is an argv, or {run: [..], timeout: 60s}."""

    pre: Annotated[tuple[HookEntry, ...], Meta(description="before the swap; a non-zero exit vetoes it")] = ()
    post: Annotated[tuple[HookEntry, ...], Meta(description="after the swap; retried until it succeeds")] = ()
    failed: Annotated[tuple[HookEntry, ...], Meta(description="an attempt failed")] = ()
    pending: Annotated[tuple[HookEntry, ...], Meta(description="the CA wants a person to approve the request")] = ()
    staged: Annotated[tuple[HookEntry, ...], Meta(description="a shadow is ready (rollover)")] = ()
    ca_changed: Annotated[tuple[HookEntry, ...], Meta(description="the content of ca_file changed")] = ()
    expiring: Annotated[tuple[HookEntry, ...], Meta(description="attempts fail and the end is near")] = ()

    def commands(self, event: str) -> tuple[HookCommand, ...]:
        """The commands of one event, each in its full form."""
        entries: tuple[tuple[str, ...] | HookCommand, ...] = getattr(self, event)
        return tuple(entry if isinstance(entry, HookCommand) else HookCommand(run=entry) for entry in entries)


class Probe(_Definition, frozen=True, kw_only=True):
    """A look at what the consumer serves after the post hooks."""

    tls: Annotated[
        str,
        Meta(
            pattern=r"^(\[[0-9A-Fa-f:.]+\]|[^\s:]+):[0-9]{1,5}$",
            description="host:port of a TLS server",
            extra={"what": "a host and a port", "hint": 'write e.g. "127.0.0.1:443"', "check": "port"},
        ),
    ]
    server_name: Annotated[str | None, Meta(description="the name asked for (SNI)")] = None
    timeout: Annotated[Duration, Meta(description="how long the change may take to show; default 30s")] = field(
        default_factory=lambda: Duration(seconds=30)
    )


class Common(_Definition, frozen=True, kw_only=True):
    """What every keystore may say; also the keys of `defaults`."""

    authority: Annotated[AuthorityName, Meta(description="the name of one of the authorities")] = ""
    renew_at: Annotated[
        Threshold, Meta(description="share of the lifetime passed (default 66%), or time before its end (30d)")
    ] = field(default_factory=lambda: Threshold(passed=Fraction(0.66)))
    key_type: Annotated[KeyType, Meta(description="of keys made from now on")] = KeyType.RSA_2048
    rekey: Annotated[Literal["always", "never"], Meta(description="never: renewals keep the key in place")] = "always"
    jitter: Annotated[
        Fraction, Meta(description="up to this share of the lifetime earlier, fixed per keystore and host; default 5%")
    ] = field(default_factory=lambda: Fraction(0.05))
    hooks: Annotated[Hooks, Meta(description="commands to run at events, see below")] = Hooks()
    owner: Annotated[Account | None, Meta(description="user, by name or number; default: as the file in place")] = None
    group: Annotated[Account | None, Meta(description="group name or number")] = None
    mode: Annotated[Mode | None, Meta(description='of the key; default: as the file in place, else "0600"')] = None


class Keeping(Common, frozen=True, kw_only=True):
    """What a keystore of any type may say, but no `defaults`.

    Each type tells `paths`, the files that are written, by role; `hook_paths`, what hooks are told, by the words
    key, certificate, chain and ca (empty: there is none); and `secrets`, by the word it is configured under.
    """

    subject: Annotated[Subject | None, Meta(description="RFC 4514 name, for the first enrollment")] = None
    san: Annotated[tuple[AlternativeName, ...], Meta(description="names, likewise")] = ()
    key_usage: Annotated[
        tuple[KeyUsage, ...], Meta(description="asked for at the first enrollment; renewals keep what is in place")
    ] = ()
    extended_key_usage: Annotated[tuple[Purpose, ...], Meta(description="purposes or OIDs, likewise")] = ()
    template: Annotated[str | None, Meta(description="Microsoft template: its name, or OID:major:minor")] = None
    check_subject: Annotated[
        Literal["exact", "key"], Meta(description="key: the CA may write the subject its own way; the key must match")
    ] = "exact"
    ca_file: Annotated[
        WrittenFile | None, Meta(description="trusted CA certificates, current and next, for the consumer's peers")
    ] = None
    probe: Annotated[Probe | None, Meta(description="look at what the consumer serves after the post hooks")] = None


class PemKeystore(Keeping, frozen=True, kw_only=True, tag_field="type", tag="pem"):
    """An identity in PEM files."""

    key_file: Annotated[WrittenFile, Meta(description="the private key")]
    certificate_file: Annotated[
        WrittenFile, Meta(description="the certificate; the same path as key_file = one combined file")
    ]
    certificate_format: Annotated[
        Literal["leaf", "fullchain"], Meta(description="fullchain: the CA's chain follows the certificate")
    ] = "fullchain"
    chain_file: Annotated[WrittenFile | None, Meta(description="the chain without the leaf")] = None
    key_passphrase: Annotated[Secret | None, Meta(description="the key file is encrypted with it")] = None
    swap: Annotated[Swap, Meta(description="how the successor takes its place; see docs/swap.md")] = "rename"

    @property
    def paths(self) -> dict[str, Path]:
        """By the roles key, certificate, chain, ca. Combined: no `certificate`."""
        certificate = None if self.combined else self.certificate_file
        return _paths(key=self.key_file, certificate=certificate, chain=self.chain_file, ca=self.ca_file)

    @property
    def hook_paths(self) -> dict[str, str]:
        return _words(key=self.key_file, certificate=self.certificate_file, chain=self.chain_file, ca=self.ca_file)

    @property
    def secrets(self) -> dict[str, Secret]:
        return {"key_passphrase": self.key_passphrase} if self.key_passphrase else {}

    @property
    def combined(self) -> bool:
        return self.key_file == self.certificate_file


class Pkcs12Keystore(Keeping, frozen=True, kw_only=True, tag_field="type", tag="pkcs12"):
    """An identity in a PKCS#12 file, which may hold other entries besides."""

    file: Annotated[WrittenFile, Meta(description="the PKCS#12 file: key, certificate and chain")]
    password: Annotated[Secret, Meta(description="the file is encrypted with it")]
    friendly_name: Annotated[
        Label | None, Meta(description="of the entry (Java: its alias); default: as in the file, else the keystore's")
    ] = None

    @property
    def paths(self) -> dict[str, Path]:
        """By the roles pkcs12, ca."""
        return _paths(pkcs12=self.file, ca=self.ca_file)

    @property
    def hook_paths(self) -> dict[str, str]:
        return _words(key=self.file, certificate=self.file, chain=None, ca=self.ca_file)

    @property
    def secrets(self) -> dict[str, Secret]:
        return {"password": self.password}

    @property
    def swap(self) -> Swap:
        """One file is one rename."""
        return "rename"


class Snippet(_Definition, frozen=True, kw_only=True):
    """A piece of a consumer's configuration, written anew at each swap: $uri, $certificate_file … are filled in."""

    template: Annotated[ReadFile, Meta(description="the text with $uri, $certificate_file … where they belong")]
    file: Annotated[WrittenFile, Meta(description="where the text is written, filled in")]


class Pkcs11Keystore(Keeping, frozen=True, kw_only=True, tag_field="type", tag="pkcs11"):
    """An identity whose key lives in a PKCS#11 token; a pointer outside the token says which key it is."""

    module: Annotated[ReadFile, Meta(description="the PKCS#11 module, a shared library")]
    token: Annotated[Token, Meta(description="label, serial:NUMBER, or a pkcs11: URI")]
    pin: Annotated[Secret, Meta(description="the user PIN of the token")]
    uri_file: Annotated[WrittenFile, Meta(description="RFC 7512 URI of the active key: what consumers read")]
    certificate_file: Annotated[WrittenFile | None, Meta(description="the certificate, in PEM")] = None
    certificate_format: Annotated[
        Literal["leaf", "fullchain"], Meta(description="fullchain: the CA's chain follows the certificate")
    ] = "fullchain"
    chain_file: Annotated[WrittenFile | None, Meta(description="the chain without the leaf")] = None
    snippet: Annotated[Snippet | None, Meta(description="a piece of a consumer's configuration, from a template")] = (
        None
    )
    label: Annotated[Label | None, Meta(description="of the objects in the token; default: the keystore's name")] = None
    certificate_object: Annotated[bool, Meta(description="keep the certificate beside its key in the token")] = True
    retire_after: Annotated[
        Duration, Meta(description="how long the old key stays in the token after the post hooks; default 1h")
    ] = field(default_factory=lambda: Duration(hours=1))
    swap: Annotated[Swap, Meta(description="how the files take their place; see docs/swap.md")] = "rename"

    def __post_init__(self) -> None:
        if self.certificate_file is None and not self.certificate_object:
            raise ValueError("keeps the certificate nowhere; add certificate_file, or set certificate_object: true")

    @property
    def paths(self) -> dict[str, Path]:
        """By the roles uri, certificate, chain, ca, snippet."""
        return _paths(
            uri=self.uri_file,
            certificate=self.certificate_file,
            chain=self.chain_file,
            ca=self.ca_file,
            snippet=self.snippet.file if self.snippet else None,
        )

    @property
    def hook_paths(self) -> dict[str, str]:
        return _words(key=self.uri_file, certificate=self.certificate_file, chain=self.chain_file, ca=self.ca_file)

    @property
    def secrets(self) -> dict[str, Secret]:
        return {"pin": self.pin}


def _paths(**files: str | None) -> dict[str, Path]:
    return {role: Path(file) for role, file in files.items() if file}


def _words(**files: str | None) -> dict[str, str]:
    return {word: file or "" for word, file in files.items()}


KeystoreDefinition = PemKeystore | Pkcs12Keystore | Pkcs11Keystore


class Configuration(_Definition, frozen=True, kw_only=True):
    """A whole configuration, includes merged, defaults applied, checked."""

    state_dir: Annotated[Directory, Meta(description="where certagent keeps its state")] = "/var/lib/certagent"
    live_dir: Annotated[Directory, Meta(description="where `swap: symlink` keeps what consumers read")] = (
        "/var/lib/certagent-live"
    )
    include: Annotated[
        str | tuple[str, ...], Meta(description="glob of further files, beside this one; a list is allowed")
    ] = ()
    metrics_file: Annotated[WrittenFile | None, Meta(description="Prometheus textfile written after each run")] = None
    worker_timeout: Annotated[Duration, Meta(description="limit of a worker for one keystore; default 10m")] = field(
        default_factory=lambda: Duration(minutes=10)
    )
    max_workers: Annotated[int, Meta(ge=1, le=64, description="workers at a time")] = 2
    check_every: Annotated[Duration, Meta(description="the sweep over all keystores; default 1h")] = field(
        default_factory=lambda: Duration(hours=1)
    )
    authorities: Annotated[dict[Name, Authority], Meta(description="SCEP endpoints, by name")] = {}
    defaults: Annotated[Common, Meta(description="merged under every keystore; no other merging exists")] = Common()
    keystores: Annotated[dict[Name, KeystoreDefinition], Meta(description="identities, by name")] = {}

    def authority_of(self, definition: KeystoreDefinition) -> Authority:
        return self.authorities[definition.authority]
