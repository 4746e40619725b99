"""The small value types of a configuration: durations, shares of a lifetime, fingerprints, names, modes.

Pure. Each has `parse(text)`, which raises ValueError with a message for users, and the
`pattern` that the JSON Schema shows.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
from datetime import datetime, timedelta
from typing import Annotated, ClassVar, Literal, Self

from msgspec import Meta, Struct

from certagent.config import names
from certagent.config.meant import (
    EXAMPLES,
    KINDS,
    likely_duration,
    likely_name,
    likely_subject,
    likely_threshold,
    url_fault,
)
from certagent.config.windows import Window
from certagent.moments import later

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Duration(timedelta):
    """A length of time, written `90s`, `15m`, `6h` or `30d`."""

    pattern: ClassVar[str] = r"^[0-9]+(\.[0-9]+)?[smhd]$"

    @classmethod
    def parse(cls, text: str) -> Self:
        if not re.fullmatch(cls.pattern, text):
            raise ValueError(f"{text!r} is not a duration; {likely_duration(text)}")
        seconds = float(text[:-1]) * _UNITS[text[-1]]
        # A century: a longer time is a mistake, and added to a date it would leave the calendar.
        if not 0.001 <= seconds <= 36525 * 86400:
            raise ValueError(f"{text!r} is not between 1 millisecond and 100 years; write e.g. 90s, 15m, 6h or 30d")
        return cls(seconds=seconds)


class Fraction(float):
    """A share of a lifetime, written `5%`; between 0 and 1 once parsed."""

    pattern: ClassVar[str] = r"^[0-9]{1,3}(\.[0-9]+)?%$"

    @classmethod
    def parse(cls, text: str) -> Self:
        if not re.fullmatch(cls.pattern, text) or float(text[:-1]) > 100:
            raise ValueError(f"{text!r} is not a share between 0% and 100%; write e.g. 66% or 5%")
        return cls(float(text[:-1]) / 100)


class Threshold(Struct, frozen=True):
    """A moment in a lifetime: a share of it passed (`66%`), or a time before its end (`30d`)."""

    passed: Fraction | None = None
    before_end: Duration | None = None

    pattern: ClassVar[str] = r"^[0-9]+(\.[0-9]+)?[smhd%]$"

    @classmethod
    def parse(cls, text: str) -> Self:
        if not re.fullmatch(cls.pattern, text):
            what = f"{text!r} is neither a share of the lifetime (66%) nor a time before its end (30d)"
            raise ValueError(f"{what}; {likely_threshold(text)}")
        if text.endswith("%"):
            share = Fraction.parse(text)
            if not 0 < share < 1:
                raise ValueError(f"{text!r} must be more than 0% and less than 100%; write e.g. 66%")
            return cls(passed=share)
        return cls(before_end=Duration.parse(text))

    def moment(self, start: datetime, end: datetime) -> datetime:
        """When the threshold is reached in the lifetime from `start` to `end`; never before `start`."""
        if self.passed is not None:
            return start + (end - start) * float(self.passed)
        return max(start, later(end, -(self.before_end or timedelta(0))))


_FINGERPRINT = "write what `openssl x509 -noout -fingerprint -sha256 -in ca.pem` prints"


class Fingerprint(Struct, frozen=True):
    """The digest of a DER certificate, written `sha256:9f86d0…` (colons between bytes allowed).

    What `openssl x509 -fingerprint` prints is accepted too, and digits alone: their number tells the algorithm.
    """

    algorithm: str
    digest: bytes

    pattern: ClassVar[str] = r"^([Ss][Hh][Aa](256|384|512)( Fingerprint)?[:=])?[0-9A-Fa-f:]+$"
    _sizes: ClassVar[dict[str, int]] = {"sha256": 32, "sha384": 48, "sha512": 64}

    @classmethod
    def parse(cls, text: str) -> Self:
        found = re.fullmatch(r"(?:(?:(\w+)(?: fingerprint)?\s*[:=])\s*)?([^\s=]+)\s*", text, re.IGNORECASE)
        algorithm, digits = (found[1] or "", found[2]) if found else ("", "")
        if re.fullmatch(r"[0-9a-fA-F]{2}", algorithm):  # the first byte of digits with colons and no algorithm
            algorithm, digits = "", text
        try:
            digest = bytes.fromhex(digits.strip().replace(":", ""))
        except ValueError:
            if algorithm.lower() not in cls._sizes:
                raise ValueError(f"{text[:200]!r} is not a fingerprint; {_FINGERPRINT}") from None
            raise ValueError(f"the digits of the fingerprint {text!r} are not hexadecimal; copy it again") from None
        if algorithm.lower() in ("md5", "sha1") or (not algorithm and len(digest) in (16, 20)):
            word = "an MD5" if algorithm.lower() == "md5" or len(digest) == 16 else "a SHA-1"
            raise ValueError(f"{text!r} is {word} fingerprint, which can be forged; {_FINGERPRINT}")
        named = algorithm.lower() or next((name for name, size in cls._sizes.items() if size == len(digest)), "")
        size = cls._sizes.get(named)
        if size is None:
            raise ValueError(f"{text[:200]!r} is not a fingerprint; {_FINGERPRINT}")
        if len(digest) != size:
            raise ValueError(
                f"a {named} fingerprint has {size * 2} hex digits, but this one has {len(digest) * 2}; copy it again"
            )
        return cls(named, digest)

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.digest.hex()}"


class AlternativeName(Struct, frozen=True):
    """One subject alternative name, written `dns:web.example.net`, `ip:192.0.2.7`, `email:…`, `uri:…`, `upn:…`."""

    kind: str
    value: str

    pattern: ClassVar[str] = r"^(dns|ip|email|uri|upn):\S+$"

    @classmethod
    def parse(cls, text: str) -> Self:
        kind, _, value = text.partition(":")
        if kind not in KINDS:
            raise ValueError(f"{text[:200]!r} is not a name; {likely_name(text)}")
        if not re.fullmatch(r"\S+", value):
            what = "contains a space" if value.strip() else "is empty after the colon"
            raise ValueError(f"{text[:200]!r} {what}; write e.g. {kind}:{EXAMPLES[kind]}, one name per entry")
        if kind == "ip":
            try:
                address = ipaddress.ip_address(value)
                if "%" in value:
                    raise ValueError  # a zone only means something on this host, not in a certificate
                value = str(address)
            except ValueError:
                raise ValueError(f"{value!r} is not an IP address; write e.g. ip:192.0.2.7") from None
        elif kind != "upn" and not value.isascii():
            raise ValueError(f"{text!r} is not ASCII; write an international domain name in its xn-- form")
        if kind in _NAME_CHECKS:
            _NAME_CHECKS[kind](value)
        return cls(kind, value)

    def __str__(self) -> str:
        return f"{self.kind}:{self.value}"


_NAME_CHECKS = {"dns": names.check_dns, "email": names.check_email, "uri": names.check_uri}


class AcceptedName(Struct, frozen=True):
    """A name that a CA may add, written as an alternative name is.

    `dns:*.corp.example` stands for itself and every name with one label in place of the star, `uri:tag:corp,*` for
    every URI that begins with `tag:corp,`. `dir:` (RFC 4514) and `other:` (OID:hex) are used in error messages.
    """

    kind: str
    value: str

    pattern: ClassVar[str] = r"^(dns|ip|email|uri|upn|dir|other):.+$"

    @classmethod
    def parse(cls, text: str) -> Self:
        kind, _, value = text.partition(":")
        if kind in ("dir", "other") and value:
            return cls(kind, value)
        if "*" not in value or kind not in ("dns", "uri"):
            name = AlternativeName.parse(text)
            return cls(kind, name.value.lower() if kind == "dns" else name.value)
        if kind == "dns" and not re.fullmatch(r"\*(\.[A-Za-z0-9_-]+){2,}", value):
            raise ValueError(f"{text!r} is too broad; use a star only for the first label, e.g. dns:*.corp.example")
        if kind == "uri" and not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*:[^*\s]+\*", value):
            raise ValueError(f"{text!r} is too broad; use a star only at the end, e.g. uri:tag:corp.example,2026:*")
        return cls(kind, value.lower() if kind == "dns" else value)

    def covers(self, word: str) -> bool:
        """Whether it allows `word`, a name as `certificate.alternative_names` writes it."""
        if word == str(self):
            return True
        if not self.value.startswith("*.") and not self.value.endswith("*"):
            return False
        pattern = re.escape(str(self)).replace(r"\*", r"[^.*]+" if self.kind == "dns" else r"\S*")
        return re.fullmatch(pattern, word) is not None

    def __str__(self) -> str:
        return f"{self.kind}:{self.value}"


class Subject(str):
    """A distinguished name in RFC 4514 form, e.g. `CN=web.example.net,O=Example`, its attributes as in `names`.

    `certificate.parse_subject` makes a name from it.
    """

    __slots__ = ()
    _attribute: ClassVar[str] = r"(?:[A-Za-z][A-Za-z0-9.-]*|[0-9]+(?:\.[0-9]+)+)=(?:[^,+\\\"<>;]|\\.)+"
    pattern: ClassVar[str] = rf"^{_attribute}(?:[,+]\s*{_attribute})*$"

    @classmethod
    def parse(cls, text: str) -> Self:
        if not re.fullmatch(cls.pattern, text):
            raise ValueError(f"{text[:200]!r} is not an RFC 4514 name; {likely_subject(text[:200])}")
        return cls(names.written_subject(text))


class KeyUsage(str):
    """A key usage, written `digitalSignature` or `digital_signature`."""

    __slots__ = ()
    pattern: ClassVar[str] = names.USAGE_PATTERN

    @classmethod
    def parse(cls, text: str) -> Self:
        return cls(names.written_usage(text))


class Purpose(str):
    """An extended key usage, written `serverAuth` or `server_auth`, or an OID."""

    __slots__ = ()
    pattern: ClassVar[str] = names.PURPOSE_PATTERN

    @classmethod
    def parse(cls, text: str) -> Self:
        return cls(names.written_purpose(text))


class Loss(str):
    """What a certificate may lose: a name, a usage, a purpose, or all of a kind."""

    __slots__ = ()
    pattern: ClassVar[str] = r"^([A-Za-z0-9_.-]+|(dns|ip|email|uri|upn|dir|other):.+)$"

    @classmethod
    def parse(cls, text: str) -> Self:
        if text in ("san", "key_usage", "extended_key_usage"):
            return cls(text)
        if ":" in text:
            return cls(AcceptedName.parse(text))
        for written in (names.written_usage, names.written_purpose):
            with contextlib.suppress(ValueError):
                return cls(written(text))
        raise ValueError(
            f"{text!r} is not something that a certificate can lose; write a name (dns:old.example.net), a "
            f"usage, a purpose, "
            "or all of a kind: san, key_usage, extended_key_usage"
        )


class Mode(int):
    """File permission bits, written in octal between quotes: `"0640"`."""

    pattern: ClassVar[str] = r"^0?[0-7]{3}$"

    @classmethod
    def parse(cls, text: str) -> Self:
        if not re.fullmatch(cls.pattern, text):
            raise ValueError(f'{text!r} is not a file mode; write three or four octal digits in quotes, e.g. "0640"')
        mode = cls(text, 8)
        if mode & 0o007:
            raise ValueError(f"mode {text} would let everybody on the host read the private key; make its last digit 0")
        return mode


_NAMES = (AlternativeName, AcceptedName, Subject, KeyUsage, Purpose, Loss)
VALUE_TYPES = (Duration, Fraction, Threshold, Fingerprint, *_NAMES, Mode, Window)


# `extra` holds what a loader must know beyond the type: `what` and `hint` say what the pattern requires,
# `check` names what must be checked against the host (checks.py).
_FILE_PATTERN = r"^/([^\x00]*[^/\x00])$"
_FILE = {"what": "an absolute file path", "hint": "start it with /, e.g. /etc/ssl/web.pem"}
SecretFile = Annotated[str, Meta(pattern=_FILE_PATTERN, extra={**_FILE, "check": "secret_file"})]
ReadFile = Annotated[str, Meta(pattern=_FILE_PATTERN, extra={**_FILE, "check": "read_file"})]
WrittenFile = Annotated[str, Meta(pattern=_FILE_PATTERN, extra={**_FILE, "check": "written_file"})]
WrittenDirectory = Annotated[
    str,
    Meta(
        pattern=r"^/[^/\x00][^\x00]*$",
        extra={
            "what": "an absolute path of a directory",
            "hint": "start it with /, e.g. /etc/swanctl/x509ca",
            "check": "written_directory",
        },
    ),
]
Directory = Annotated[
    str,
    Meta(
        pattern=r"^/[^/\x00][^\x00]*$",
        extra={
            "what": "an absolute directory path",
            "hint": "start it with /, e.g. /var/lib/certagent",
            "check": "directory",
        },
    ),
]
Name = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        extra={
            "what": "a usable name (it becomes a directory)",
            "hint": "use at most 64 letters, digits, dots, dashes and underscores, starting with a letter or digit",
        },
    ),
]


Url = Annotated[
    str,
    Meta(
        pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$",
        extra={
            "what": "an http:// or https:// URL",
            "hint": "write e.g. http://scep.example.net/scep",
            "fault": url_fault,
            "check": "url",
        },
    ),
]
Proxy = Annotated[
    str,
    Meta(
        pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$",
        extra={
            "what": "an http:// or https:// URL",
            "hint": "write e.g. http://proxy.example.net:3128",
            "fault": url_fault,
            "check": "url",
        },
    ),
]
AuthorityName = Annotated[str, Meta(extra={"check": "authority"})]
Credential = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}$",
        extra={"what": "the name of a systemd credential", "hint": "write e.g. scep-challenge", "check": "credential"},
    ),
]
Variable = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        extra={"what": "the name of an environment variable", "hint": "write e.g. CORP_CHALLENGE", "check": "env"},
    ),
]
Account = Annotated[
    str,
    Meta(
        pattern=r"^[^\s:/]+$",
        extra={"what": "a user or group", "hint": "write a name, or a number in quotes", "check": "account"},
    ),
]
Token = Annotated[
    str,
    Meta(
        pattern=r"^(pkcs11:(?!.*[Pp][Ii][Nn]-)\S+|serial:\S{1,16}|(?!pkcs11:|serial:).{1,32})$",
        extra={
            "what": "a token's label, serial:NUMBER, or a pkcs11: URI without a PIN",
            "hint": "write e.g. token: vpn; `pkcs11-tool --list-token-slots` lists the tokens",
        },
    ),
]
Label = Annotated[str, Meta(min_length=1)]
Argv = Annotated[tuple[str, ...], Meta(min_length=1, extra={"check": "program"})]
Weak = Literal["sha1", "md5", "3des", "des"]
Capability = Literal["aes", "3des", "sha256", "sha512", "sha1", "post", "renewal", "next_ca"]
KeyTransport = Literal["rsa", "oaep", "password"]
