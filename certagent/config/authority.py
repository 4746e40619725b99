"""What a configuration may say about an authority. Pure."""

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, field

from certagent.config.introduction import Introduction
from certagent.config.parts import AuthorityHooks, Definition, Secret
from certagent.config.values import (
    Account,
    Capability,
    Duration,
    Fingerprint,
    Fraction,
    KeyTransport,
    Mode,
    Proxy,
    ReadFile,
    SecretFile,
    Threshold,
    Url,
    Weak,
    WrittenDirectory,
    WrittenFile,
)

CrlUrl = Annotated[
    str,
    Meta(
        pattern=r"^(https?|ldaps?)://\S+$",
        extra={
            "what": "an http://, https://, ldap:// or ldaps:// URL",
            "hint": "write e.g. http://pki.example.net/ca.crl",
            "check": "url",
        },
    ),
]


class Authority(Definition, frozen=True, kw_only=True):
    """A SCEP endpoint and what is trusted about it."""

    url: Annotated[
        Url | tuple[Url, ...],
        Meta(
            description="the SCEP URL, http:// or https://; or a list: the next one is asked when those "
            "before it cannot be reached"
        ),
    ]
    ca_identifier: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        Meta(description="the `message` sent with GetCACert; not sent unless set"),
    ] = None
    fingerprint: Annotated[
        Fingerprint | tuple[Fingerprint, ...],
        Meta(description="digest of the trusted CA certificate; a list is allowed"),
    ] = ()
    trust_anchor: Annotated[
        ReadFile | tuple[ReadFile, ...],
        Meta(description="PEM file with a trusted root certificate; a list is allowed"),
    ] = ()
    challenge: Annotated[Secret | None, Meta(description="the challenge password")] = None
    send_challenge: Annotated[
        Literal["enrollment", "always"], Meta(description="always: send it with renewals too, as some CAs require")
    ] = "enrollment"
    introduce_with: Annotated[
        Introduction | None,
        Meta(description="a factory identity that signs first enrollments; it is read, never written"),
    ] = None
    accept: Annotated[tuple[Weak, ...], Meta(description="weak algorithms still accepted in replies")] = ()
    capabilities: Annotated[
        tuple[Capability, ...] | None,
        Meta(description="what the CA supports, if its GetCACaps is missing or wrong; the CA is not asked then"),
    ] = None
    key_transport: Annotated[
        KeyTransport,
        Meta(
            description="how a request's encryption key is protected; password: with the challenge, so no "
            "RSA key is needed"
        ),
    ] = "rsa"
    https_ca_file: Annotated[
        ReadFile | None, Meta(description="PEM file with the roots trusted for an https:// url")
    ] = None
    https_client_certificate: Annotated[
        ReadFile | None, Meta(description="PEM file of a TLS client certificate for an https:// url")
    ] = None
    https_client_key: Annotated[SecretFile | None, Meta(description="PEM file of its key, not encrypted")] = None
    proxy: Annotated[Proxy | None, Meta(description="HTTP proxy URL")] = None
    timeout: Annotated[Duration, Meta(description="how long one exchange may take; default 30s")] = field(
        default_factory=lambda: Duration(seconds=30)
    )
    poll_interval: Annotated[Duration, Meta(description="time between polls for a pending request; default 5m")] = (
        field(default_factory=lambda: Duration(minutes=5))
    )
    poll_limit: Annotated[Duration, Meta(description="how long a request may stay pending; default 7d")] = field(
        default_factory=lambda: Duration(days=7)
    )
    recipient: Annotated[
        ReadFile | None, Meta(description="PEM file: the RA certificate that requests are encrypted to")
    ] = None
    signer: Annotated[ReadFile | None, Meta(description="PEM file: the RA certificate that signs answers")] = None
    rollover_at: Annotated[
        Threshold, Meta(description="when to ask for the next CA: share of the CA's lifetime passed, or time left")
    ] = field(default_factory=lambda: Threshold(passed=Fraction(0.8)))
    next_fingerprint: Annotated[
        Fingerprint | tuple[Fingerprint, ...], Meta(description="fingerprint of a next CA that somebody has checked")
    ] = ()
    crl_file: Annotated[
        WrittenFile | None,
        Meta(description="PEM file for the CRLs of its CAs (current, next and old), kept up to date"),
    ] = None
    crl_directory: Annotated[
        WrittenDirectory | None,
        Meta(description="directory for the same CRLs, one file each, named HASH.r0 as by `openssl rehash`"),
    ] = None
    crl_url: Annotated[
        CrlUrl | tuple[CrlUrl, ...],
        Meta(description="where to fetch the CRLs; default: the address in the certificates; a list is allowed"),
    ] = ()
    crl_from: Annotated[
        Literal["points", "scep"],
        Meta(description="points: where the certificates, or crl_url, say; scep: GetCRL, for the CA's own"),
    ] = "points"
    crl_owner: Annotated[
        Account | None,
        Meta(description="user who owns crl_file and the files in crl_directory; default: that of the file in place"),
    ] = None
    crl_group: Annotated[Account | None, Meta(description="group of these files, name or number")] = None
    crl_mode: Annotated[
        Mode | None, Meta(description='mode of these files; default: that of the file in place, else "0644"')
    ] = None
    hooks: Annotated[AuthorityHooks, Meta(description="commands to run when the CRLs have changed")] = AuthorityHooks()

    def __post_init__(self) -> None:
        if not self.fingerprint and not self.trust_anchor:
            raise ValueError(
                "has neither fingerprint nor trust_anchor; add one: certagent does not trust a CA on first use"
            )
        if (self.https_client_certificate is None) != (self.https_client_key is None):
            raise ValueError("has only one of https_client_certificate and https_client_key; give both or none")
        if not self.urls:
            raise ValueError("has an empty url list; write the SCEP URL")
        if len(set(self.urls)) < len(self.urls):
            raise ValueError("has the same url twice; remove one")
        if (self.https_ca_file or self.https_client_key) and not all(each.startswith("https://") for each in self.urls):
            raise ValueError("has https_… keys but an http:// url; write https://, or remove them")
        if isinstance(self.capabilities, tuple):  # not a stand-in for an invalid value
            _check_capabilities(frozenset(self.capabilities))
        if self.key_transport == "password" and self.challenge is None:
            raise ValueError("has key_transport: password and no challenge; the challenge is that password")

    @property
    def urls(self) -> tuple[str, ...]:
        """Its addresses, the preferred one first."""
        return self.url if isinstance(self.url, tuple) else (self.url,)

    @property
    def crl_urls(self) -> tuple[str, ...]:
        return (self.crl_url,) if isinstance(self.crl_url, str) else self.crl_url

    @property
    def crl_source(self) -> tuple[str, ...]:
        """Where CRLs come from, as configured."""
        return (self.crl_from, *self.crl_urls)

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
    def trusted_files(self) -> bool:
        """Whether files beside the state directory say what is trusted."""
        return bool(self.trust_anchors or self.recipient or self.signer)

    @property
    def trust_anchors(self) -> tuple[Path, ...]:
        return tuple(map(Path, (self.trust_anchor,) if isinstance(self.trust_anchor, str) else self.trust_anchor))


def _check_capabilities(said: frozenset[Capability]) -> None:
    """A CA with nothing better must name its weak cipher or digest: leaving it out never means the weak one."""
    if not said & {"aes", "3des"}:
        raise ValueError("has capabilities without a cipher; add aes, or 3des if the CA supports nothing better")
    if not said & {"sha256", "sha512", "sha1"}:
        raise ValueError(
            "has capabilities without a digest; add sha256 or sha512, or sha1 if the CA supports nothing better"
        )
