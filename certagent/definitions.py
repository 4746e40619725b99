"""What a configuration may say: frozen definitions and the small value types they are made of.

Pure: nothing here reads a file or a clock. The types are msgspec structs, so that the decoder, the
error messages and `certagent schema` all come from these very lines (docs/decisions.md, 1).
Every value type has `parse(text)`, which raises ValueError with a message fit for a user.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from msgspec import Meta, Struct, field

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Duration(timedelta):
    """A length of time, written `90s`, `15m`, `6h` or `30d`."""

    pattern: ClassVar[str] = r"^[0-9]+(\.[0-9]+)?[smhd]$"

    @classmethod
    def parse(cls, text: str) -> Self:
        if not re.match(cls.pattern, text):
            raise ValueError(f"{text!r} is not a duration; write e.g. 90s, 15m, 6h or 30d")
        try:
            return cls(seconds=float(text[:-1]) * _UNITS[text[-1]])
        except OverflowError:
            raise ValueError(f"{text!r} is too long a time") from None


class Fraction(float):
    """A share of a lifetime, written `5%`; between 0 and 1 once parsed."""

    pattern: ClassVar[str] = r"^[0-9]{1,3}(\.[0-9]+)?%$"

    @classmethod
    def parse(cls, text: str) -> Self:
        if not re.match(cls.pattern, text) or float(text[:-1]) > 100:
            raise ValueError(f"{text!r} is not a share between 0% and 100%")
        return cls(float(text[:-1]) / 100)


@dataclass(frozen=True)
class Threshold:
    """A moment in a lifetime: a share of it passed (`66%`), or a time before its end (`30d`)."""

    passed: Fraction | None = None
    before_end: Duration | None = None

    pattern: ClassVar[str] = r"^[0-9]+(\.[0-9]+)?[smhd%]$"

    @classmethod
    def parse(cls, text: str) -> Self:
        if not re.match(cls.pattern, text):
            raise ValueError(f"{text!r} is neither a share of the lifetime (66%) nor a time before its end (30d)")
        if text.endswith("%"):
            share = Fraction.parse(text)
            if not 0 < share < 1:
                raise ValueError(f"{text!r} must lie between 0% and 100%, both excluded")
            return cls(passed=share)
        return cls(before_end=Duration.parse(text))

    def moment(self, start: datetime, end: datetime) -> datetime:
        """When the threshold is passed in the lifetime from `start` to `end`; never before `start`."""
        if self.passed is not None:
            return start + (end - start) * float(self.passed)
        return max(start, end - (self.before_end or timedelta(0)))


@dataclass(frozen=True)
class Fingerprint:
    """The digest of a DER certificate, written `sha256:9f86d0…` (colons between bytes allowed)."""

    algorithm: str
    digest: bytes

    pattern: ClassVar[str] = r"^(sha256|sha384|sha512):[0-9A-Fa-f:]+$"
    _sizes: ClassVar[dict[str, int]] = {"sha256": 32, "sha384": 48, "sha512": 64}

    @classmethod
    def parse(cls, text: str) -> Self:
        algorithm, _, digits = text.partition(":")
        size = cls._sizes.get(algorithm.lower())
        if size is None:
            raise ValueError(f"{text!r} is not a fingerprint; write sha256:, sha384: or sha512: and hex digits")
        try:
            digest = bytes.fromhex(digits.replace(":", "").strip())
        except ValueError:
            raise ValueError(f"the digits of the fingerprint {text!r} are not hexadecimal") from None
        if len(digest) != size:
            raise ValueError(f"a {algorithm} fingerprint has {size * 2} hex digits, this one {len(digest) * 2}")
        return cls(algorithm.lower(), digest)

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.digest.hex()}"


@dataclass(frozen=True)
class AlternativeName:
    """One subject alternative name, written `dns:web.example.net`, `ip:192.0.2.7`, `email:…`, `uri:…`, `upn:…`."""

    kind: str
    value: str

    pattern: ClassVar[str] = r"^(dns|ip|email|uri|upn):.+$"

    @classmethod
    def parse(cls, text: str) -> Self:
        kind, _, value = text.partition(":")
        if kind not in ("dns", "ip", "email", "uri", "upn") or not value:
            raise ValueError(f"{text!r} is not a name; write dns:, ip:, email:, uri: or upn: and the name")
        if kind == "ip":
            try:
                value = str(ipaddress.ip_address(value))
            except ValueError:
                raise ValueError(f"{value!r} is not an IP address") from None
        elif kind != "upn" and not value.isascii():
            raise ValueError(f"{text!r} must be ASCII (write an international name in its xn-- form)")
        return cls(kind, value)

    def __str__(self) -> str:
        return f"{self.kind}:{self.value}"


class Subject(str):
    """A distinguished name in RFC 4514 form, e.g. `CN=web.example.net,O=Example`.

    Only its shape is checked here (the agent loads no cryptography); `certificate.parse_subject`
    makes the name of it.
    """

    __slots__ = ()
    _attribute: ClassVar[str] = r"(?:[A-Za-z][A-Za-z0-9-]*|[0-9]+(?:\.[0-9]+)+)=(?:[^,+\\\"<>;]|\\.)+"
    pattern: ClassVar[str] = rf"^{_attribute}(?:[,+]\s*{_attribute})*$"

    @classmethod
    def parse(cls, text: str) -> Self:
        if not re.match(cls.pattern, text):
            raise ValueError(f"{text!r} is not an RFC 4514 name; write e.g. CN=web.example.net,O=Example")
        return cls(text)


class Mode(int):
    """File permission bits, written in octal between quotes: `"0640"`."""

    pattern: ClassVar[str] = r"^0?[0-7]{3}$"

    @classmethod
    def parse(cls, text: str) -> Self:
        if not re.match(cls.pattern, text):
            raise ValueError(f'{text!r} is not a file mode; write three or four octal digits in quotes, e.g. "0640"')
        mode = cls(text, 8)
        if mode & 0o007:
            raise ValueError(f"mode {text} would let everybody on the host at the private key")
        return mode


VALUE_TYPES = (Duration, Fraction, Threshold, Fingerprint, AlternativeName, Subject, Mode)


class KeyType(StrEnum):
    RSA_2048 = "rsa:2048"
    RSA_3072 = "rsa:3072"
    RSA_4096 = "rsa:4096"
    EC_P256 = "ec:p256"
    EC_P384 = "ec:p384"


class _Definition(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base: immutable, by keyword, and strict about unknown keys."""


class Secret(_Definition, frozen=True, kw_only=True):
    """Where a secret is read at the moment it is needed: exactly one of file, env or command."""

    file: Annotated[str | None, Meta(description="a file holding the secret; one trailing newline is cut")] = None
    env: Annotated[str | None, Meta(description="an environment variable of the certagent process")] = None
    command: Annotated[tuple[str, ...] | None, Meta(description="an argv that prints the secret")] = None

    def __post_init__(self) -> None:
        given = [word for word in ("file", "env", "command") if getattr(self, word)]
        if len(given) != 1:
            raise ValueError("a secret comes from exactly one of file, env or command")


Weak = Literal["sha1", "md5", "3des", "des"]


class Authority(_Definition, frozen=True, kw_only=True):
    """A SCEP endpoint and what is trusted about it."""

    url: Annotated[str, Meta(pattern=r"^https?://[^\s/?#]+[^\s?#]*$", description="the SCEP URL, http:// or https://")]
    ca_identifier: Annotated[str | None, Meta(description="the `message` of GetCACert; absent = not sent")] = None
    fingerprint: Annotated[
        Fingerprint | tuple[Fingerprint, ...], Meta(description="digest of the CA certificate that is believed")
    ] = ()
    trust_anchor: Annotated[
        str | tuple[str, ...], Meta(description="PEM file of a root certificate that is believed")
    ] = ()
    challenge: Annotated[Secret | None, Meta(description="the challenge password")] = None
    send_challenge: Annotated[
        Literal["enrollment", "always"], Meta(description="always: some CAs want it on renewals too")
    ] = "enrollment"
    accept: Annotated[tuple[Weak, ...], Meta(description="weak algorithms still believed in replies")] = ()
    proxy: Annotated[str | None, Meta(pattern=r"^https?://\S+$", description="HTTP proxy URL")] = None
    timeout: Annotated[Duration, Meta(description="limit of one exchange; default 30s")] = field(
        default_factory=lambda: Duration(seconds=30)
    )
    poll_interval: Annotated[Duration, Meta(description="between polls of a pending request; default 5m")] = field(
        default_factory=lambda: Duration(minutes=5)
    )
    poll_limit: Annotated[Duration, Meta(description="how long a request may stay pending; default 7d")] = field(
        default_factory=lambda: Duration(days=7)
    )
    rollover_at: Annotated[
        Threshold, Meta(description="when to ask for the next CA: share of the CA's lifetime, or time before its end")
    ] = field(default_factory=lambda: Threshold(passed=Fraction(0.8)))
    next_fingerprint: Annotated[
        Fingerprint | tuple[Fingerprint, ...], Meta(description="a next CA a person has checked")
    ] = ()

    def __post_init__(self) -> None:
        if not self.fingerprints and not self.trust_anchors:
            raise ValueError("needs a fingerprint or a trust_anchor: no CA is believed on first use")

    @property
    def fingerprints(self) -> tuple[Fingerprint, ...]:
        return (self.fingerprint,) if isinstance(self.fingerprint, Fingerprint) else self.fingerprint

    @property
    def trust_anchors(self) -> tuple[Path, ...]:
        return tuple(map(Path, (self.trust_anchor,) if isinstance(self.trust_anchor, str) else self.trust_anchor))


class HookCommand(_Definition, frozen=True, kw_only=True):
    """One command: an argv, never a shell, and how long it may take."""

    run: Annotated[tuple[str, ...], Meta(min_length=1)]
    timeout: Annotated[Duration, Meta(description="default 60s")] = field(default_factory=lambda: Duration(seconds=60))


HookEntry = Annotated[tuple[str, ...], Meta(min_length=1)] | HookCommand
EVENTS = ("pre", "post", "failed", "pending", "staged", "ca_changed", "expiring")


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
        str, Meta(pattern=r"^(\[[0-9A-Fa-f:.]+\]|[^\s:]+):[0-9]{1,5}$", description="host:port of a TLS server")
    ]
    server_name: Annotated[str | None, Meta(description="the name asked for (SNI)")] = None
    timeout: Annotated[Duration, Meta(description="how long the change may take to show; default 30s")] = field(
        default_factory=lambda: Duration(seconds=30)
    )


class Common(_Definition, frozen=True, kw_only=True):
    """What every keystore may say; also the keys of `defaults`."""

    authority: Annotated[str, Meta(description="the name of one of the authorities")] = ""
    renew_at: Annotated[
        Threshold, Meta(description="share of the lifetime passed (default 66%), or time before its end (30d)")
    ] = field(default_factory=lambda: Threshold(passed=Fraction(0.66)))
    key_type: Annotated[KeyType, Meta(description="of keys made from now on")] = KeyType.RSA_2048
    rekey: Annotated[Literal["always", "never"], Meta(description="never: renewals keep the key in place")] = "always"
    jitter: Annotated[
        Fraction, Meta(description="up to this share of the lifetime earlier, fixed per keystore and host; default 5%")
    ] = field(default_factory=lambda: Fraction(0.05))
    hooks: Hooks = Hooks()
    owner: Annotated[str | None, Meta(description="user, by name or number; default: as the file in place")] = None
    group: Annotated[str | None, Meta(description="group name or number")] = None
    mode: Annotated[Mode | None, Meta(description='of the key; default: as the file in place, else "0600"')] = None


class PemKeystore(Common, frozen=True, kw_only=True, tag_field="type", tag="pem"):
    """An identity in PEM files."""

    key_file: Annotated[str, Meta(description="the private key")]
    certificate_file: Annotated[str, Meta(description="the certificate; the same path as key_file = one combined file")]
    certificate_format: Annotated[
        Literal["leaf", "fullchain"], Meta(description="fullchain: the CA's chain follows the certificate")
    ] = "fullchain"
    chain_file: Annotated[str | None, Meta(description="the chain without the leaf")] = None
    ca_file: Annotated[str | None, Meta(description="trusted CA certificates, for the consumer's peers")] = None
    key_passphrase: Annotated[Secret | None, Meta(description="the key file is encrypted with it")] = None
    swap: Annotated[
        Literal["rename", "symlink"], Meta(description="how the successor takes its place; see docs/swap.md")
    ] = "rename"
    subject: Annotated[Subject | None, Meta(description="RFC 4514 name, for the first enrollment")] = None
    san: Annotated[tuple[AlternativeName, ...], Meta(description="names, for the first enrollment")] = ()
    probe: Probe | None = None

    @property
    def paths(self) -> dict[str, Path]:
        """The files that are written, by role: key, certificate, chain, ca. Combined: no `certificate`."""
        roles = {
            "key": self.key_file,
            "certificate": self.certificate_file if self.certificate_file != self.key_file else None,
            "chain": self.chain_file,
            "ca": self.ca_file,
        }
        return {role: Path(path) for role, path in roles.items() if path}

    @property
    def combined(self) -> bool:
        return self.key_file == self.certificate_file


# One driver today; PKCS#12 and PKCS#11 definitions join this union with their drivers.
KeystoreDefinition = PemKeystore


class Configuration(_Definition, frozen=True, kw_only=True):
    """A whole configuration, includes merged, defaults applied, checked."""

    state_dir: Annotated[str, Meta(description="where certagent keeps its state")] = "/var/lib/certagent"
    live_dir: Annotated[str, Meta(description="where `swap: symlink` keeps what consumers read")] = (
        "/var/lib/certagent-live"
    )
    include: Annotated[str | tuple[str, ...], Meta(description="glob of further files, beside this one")] = ()
    metrics_file: Annotated[str | None, Meta(description="Prometheus textfile written after each run")] = None
    worker_timeout: Annotated[Duration, Meta(description="limit of one worker; default 10m")] = field(
        default_factory=lambda: Duration(minutes=10)
    )
    max_workers: Annotated[int, Meta(ge=1, le=64, description="workers at a time")] = 2
    check_every: Annotated[Duration, Meta(description="the sweep over all keystores; default 1h")] = field(
        default_factory=lambda: Duration(hours=1)
    )
    authorities: dict[str, Authority] = {}
    defaults: Common = Common()
    keystores: dict[str, KeystoreDefinition] = {}

    def authority_of(self, definition: KeystoreDefinition) -> Authority:
        return self.authorities[definition.authority]
