"""Which names and usages may be requested, and how to spell them: X.520's attributes and bounds, DNS labels. Pure.

The agent loads no cryptography: this module has words, object identifiers and lengths; `certificate` makes names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from msgspec import Struct


class Attribute(Struct, frozen=True):
    """One kind of attribute of a subject. `longest` in characters: RFC 5280 appendix A, X.520; None if unbounded."""

    oid: str
    longest: int | None
    aliases: tuple[str, ...] = ()
    shortest: int = 1


# As RFC 4514 and openssl write them; letter case does not matter, and aliases are accepted.
ATTRIBUTES = {
    "CN": Attribute("2.5.4.3", 64, ("commonName",)),
    "SN": Attribute("2.5.4.4", 32768, ("surname",)),
    "serialNumber": Attribute("2.5.4.5", 64),
    "C": Attribute("2.5.4.6", 2, ("countryName",), shortest=2),
    "L": Attribute("2.5.4.7", 128, ("localityName", "locality")),
    "ST": Attribute("2.5.4.8", 128, ("S", "SP", "stateOrProvinceName")),
    "STREET": Attribute("2.5.4.9", 128, ("streetAddress",)),
    "O": Attribute("2.5.4.10", 64, ("organizationName", "organization")),
    "OU": Attribute("2.5.4.11", 64, ("organizationalUnitName", "organizationalUnit")),
    "title": Attribute("2.5.4.12", 64, ("T",)),
    "description": Attribute("2.5.4.13", 1024),
    "businessCategory": Attribute("2.5.4.15", 128),
    "postalCode": Attribute("2.5.4.17", 40),
    "telephoneNumber": Attribute("2.5.4.20", 32),
    "name": Attribute("2.5.4.41", 32768),
    "GN": Attribute("2.5.4.42", 32768, ("G", "givenName")),
    "initials": Attribute("2.5.4.43", 32768),
    "generationQualifier": Attribute("2.5.4.44", 32768),
    "dnQualifier": Attribute("2.5.4.46", None),
    "pseudonym": Attribute("2.5.4.65", 128),
    "organizationIdentifier": Attribute("2.5.4.97", None),
    "UID": Attribute("0.9.2342.19200300.100.1.1", 256, ("userId",)),
    "DC": Attribute("0.9.2342.19200300.100.1.25", 63, ("domainComponent",)),
    "emailAddress": Attribute("1.2.840.113549.1.9.1", 255, ("E", "email")),
    "unstructuredName": Attribute("1.2.840.113549.1.9.2", 255),
    "unstructuredAddress": Attribute("1.2.840.113549.1.9.8", 255),
}
_BY_WORD = {
    word.lower(): name
    for name, each in ATTRIBUTES.items()
    for word in (name, each.oid, f"oid.{each.oid}", *each.aliases)
}

_SUBJECT_PART = re.compile(r"(?P<key>[A-Za-z][A-Za-z0-9.-]*|[0-9]+(?:\.[0-9]+)+)=(?P<value>(?:[^,+\\\"<>;]|\\.)+)")

_BLANKS = re.compile(r"(?<!\\)([,+])\s+")


def written_subject(text: str) -> str:
    """A subject of RFC 4514's shape with the attribute names of ATTRIBUTES, and without blanks after commas.

    Raises ValueError, `WHAT; HINT`, for an unknown attribute and for a value out of bounds.
    """
    text = _BLANKS.sub(r"\1", text)
    return _SUBJECT_PART.sub(lambda found: _part(found["key"], found["value"]), text)


def _part(key: str, value: str) -> str:
    name = _BY_WORD.get(key.lower())
    if name is None:
        if key[0].isdigit():
            return f"{key}={value}"
        raise ValueError(f"{key[:64]!r} is not an attribute that certagent knows; write its OID, e.g. 2.5.4.51=x")
    if value.startswith("#"):  # DER in hex: whoever writes that knows what it is
        return f"{name}={value}"
    attribute, length = ATTRIBUTES[name], len(_plain(value))
    if name == "CN":  # cryptography counts its bytes in UTF-8, and so do some CAs
        length = len(_plain(value).encode())
    if length < attribute.shortest and attribute.shortest == attribute.longest:
        raise ValueError(
            f"{name} has {length} characters; it must have {attribute.longest}; {_HINTS.get(name, 'fix it')}"
        )
    if attribute.longest is not None and length > attribute.longest:
        what = f"at most {attribute.longest}" if attribute.shortest == 1 else str(attribute.longest)
        raise ValueError(
            f"{name} has {length} characters, not {what}; {_HINTS.get(name, 'shorten it, CAs may refuse it')}"
        )
    return f"{name}={value}"


_HINTS = {
    "C": "write the two-letter country code (ISO 3166), e.g. DE",
    "CN": "put a longer host name only in san, as dns:NAME",
}


def _plain(value: str) -> str:
    """A value without its escapes: a pair of hex digits is a byte of UTF-8, anything else stands for itself."""
    octets = re.sub(r"\\([0-9A-Fa-f]{2}|.)", lambda found: _unescaped(found[1]), value)
    return octets.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _unescaped(escape: str) -> str:
    if len(escape) == 1:
        return escape
    return bytes.fromhex(escape).decode("utf-8", "surrogateescape")


_LABEL = re.compile(r"[A-Za-z0-9_-]{1,63}")


def check_dns(value: str) -> None:
    """Check that a certificate can hold this DNS name (RFC 5280 §4.2.1.6, RFC 1034 §3.5). Raises ValueError."""
    if len(value) > 253:
        raise ValueError(f"the DNS name has {len(value)} characters; at most 253 are allowed; shorten it")
    labels = value.removeprefix("*.").split(".")
    for label in labels:
        if not label:
            raise ValueError(f"the DNS name {value!r} has an empty part; remove leading, trailing and double dots")
        if len(label) > 63:
            raise ValueError(
                f"the part {label!r} of a DNS name has {len(label)} characters; at most 63 are allowed; shorten it"
            )
        if not _LABEL.fullmatch(label):
            what = "a * must be the whole first part" if "*" in label else "use letters, digits, - and _"
            raise ValueError(f"{value!r} is not a DNS name; {what}")


def check_email(value: str) -> None:
    """Raises ValueError if it is not a mailbox (RFC 5280 §4.2.1.6), or is too long (RFC 5321 §4.5.3.1)."""
    local, at, domain = value.rpartition("@")
    if not (local and at and domain):
        raise ValueError(f"{value!r} is not an e-mail address; write e.g. email:device@example.net")
    if len(local) > 64 or len(value) > 254:
        raise ValueError("the e-mail address is too long; at most 64 characters before the @, and 254 in all")


def check_uri(value: str) -> None:
    """Raises ValueError if it is not an absolute URI (RFC 5280 §4.2.1.6)."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*:.+", value):
        raise ValueError(f"{value!r} is not an absolute URI; write it with its scheme, e.g. uri:https://example.net/")


KEY_USAGES = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
PURPOSES = {
    "server_auth": "1.3.6.1.5.5.7.3.1",
    "client_auth": "1.3.6.1.5.5.7.3.2",
    "code_signing": "1.3.6.1.5.5.7.3.3",
    "email_protection": "1.3.6.1.5.5.7.3.4",
    "ipsec_end_system": "1.3.6.1.5.5.7.3.5",
    "ipsec_tunnel": "1.3.6.1.5.5.7.3.6",
    "ipsec_user": "1.3.6.1.5.5.7.3.7",
    "time_stamping": "1.3.6.1.5.5.7.3.8",
    "ocsp_signing": "1.3.6.1.5.5.7.3.9",
    "eap_over_ppp": "1.3.6.1.5.5.7.3.13",
    "eap_over_lan": "1.3.6.1.5.5.7.3.14",
    "ipsec_ike": "1.3.6.1.5.5.7.3.17",
    "smartcard_logon": "1.3.6.1.4.1.311.20.2.2",
    "pkinit_client": "1.3.6.1.5.2.3.4",
    "pkinit_kdc": "1.3.6.1.5.2.3.5",
    "any_extended_key_usage": "2.5.29.37.0",
}


def _camel(word: str) -> str:
    first, *rest = word.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _spellings(words: Iterable[str], prefix: str = "") -> dict[str, str]:
    """Each word, also as RFC 5280 and openssl write it: `serverAuth`, `id-kp-serverAuth`."""
    spelled = {word: word for word in words}
    camel = {_camel(word): word for word in spelled}
    return spelled | camel | ({f"{prefix}{word}": meant for word, meant in camel.items()} if prefix else {})


_USAGES = _spellings(KEY_USAGES) | dict.fromkeys(("nonRepudiation", "non_repudiation"), "content_commitment")
_PURPOSE_WORDS = _spellings(PURPOSES, "id-kp-") | {
    "OCSPSigning": "ocsp_signing",
    "id-kp-OCSPSigning": "ocsp_signing",
    "ipsecIKE": "ipsec_ike",
    "id-kp-ipsecIKE": "ipsec_ike",
    "eapOverPPP": "eap_over_ppp",
    "eapOverLAN": "eap_over_lan",
    "msSmartcardLogin": "smartcard_logon",
    "pkInitClientAuth": "pkinit_client",
    "pkInitKDC": "pkinit_kdc",
}
USAGE_PATTERN = f"^({'|'.join(sorted(_USAGES))})$"
PURPOSE_PATTERN = rf"^({'|'.join(sorted(_PURPOSE_WORDS))}|[0-2](\.[0-9]+)+)$"


def written_usage(text: str) -> str:
    """A key usage as in KEY_USAGES, in whatever spelling it was given. Raises ValueError."""
    return _meant(text, _USAGES, "a key usage", KEY_USAGES)


def written_purpose(text: str) -> str:
    """A purpose as in PURPOSES, or an OID. Raises ValueError."""
    if re.fullmatch(r"[0-2](\.[0-9]+)+", text):
        return text
    return _meant(text, _PURPOSE_WORDS, "a purpose", (*PURPOSES, "and OIDs"))


def _meant(text: str, words: Mapping[str, str], what: str, known: Iterable[str]) -> str:
    if text in words:
        return words[text]
    folded = re.sub("[_ -]", "", text).lower()
    near = next((word for word in words if word.replace("_", "").lower() == folded), None)
    hint = f"did you mean {near}?" if near else f"known here: {', '.join(known)}; spellings like serverAuth work too"
    raise ValueError(f"{text[:64]!r} is not {what}; {hint}")
