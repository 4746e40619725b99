"""Whether a certificate from a CA is fit to replace the one in place: pure rules, which no other module repeats.

Values and `now` in; the certificate with its path, or UnfitError out. A successor is fit if

1. it is the one certificate for our key, under that key's own algorithm, and a proven path leads to the trusted CA;
2. it is not a CA, is not the certificate already in place, and may be used by an end entity;
3. it has the subject that was asked for, and only alternative names that were asked for, except dns: and a common name
   that was asked for, which gives no new power, and what `accept_names` says;
4. it has every name, key usage and purpose that was asked for and that the one in place has, except what `may_lose`
   says. At a first enrollment, a missing key usage is reported but accepted: CAs reduce usages by policy;
5. it ends no earlier than the one in place, unless a person wants it now, or that one is past its threshold.

`proof_of_use` has what only a trial shows: that OpenSSL loads it with its key and chain, and verifies it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from cryptography import x509
from msgspec import Struct, field

from certagent import certificate as facts
from certagent.config.values import AcceptedName, AlternativeName
from certagent.errors import UnfitError
from certagent.keys import public_bytes
from certagent.text import iso
from certagent.trust.parts import read_parts
from certagent.trust.proof import UnprovenError, prove
from certagent.trust.rules import SKEW, Believed, soon
from certagent.trust.usages import asked_usages, purpose_words, usage_words

LOOK = "nothing was installed; ask the CA's operator"
SERVER, CLIENT = "server_auth", "client_auth"

# A life this short helps nobody; one that ends before the current one must leave time for another try.
_SHORTEST = timedelta(seconds=2)
_SHORT = timedelta(hours=1)

_AUTHENTICATE = frozenset({"digital_signature", "content_commitment"})
_USABLE = {
    "rsa": _AUTHENTICATE | {"key_encipherment", "data_encipherment"},
    "ec": _AUTHENTICATE | {"key_agreement"},
    "pure": _AUTHENTICATE,  # EdDSA and ML-DSA keys only sign (RFC 8410 §5, RFC 9881 §5)
}
# As in OpenSSL (x509v3, check_purpose_ssl_…).
_TLS_USAGES: Mapping[str, frozenset[str]] = {
    SERVER: frozenset({"digital_signature", "key_encipherment", "key_agreement"}),
    CLIENT: frozenset({"digital_signature", "key_agreement"}),
}
_OWN_ALGORITHMS = {
    "1.2.840.113549.1.1.1": "rsa",
    "1.2.840.10045.2.1": "ec",
    **dict.fromkeys(("1.3.101.112", "1.3.101.113"), "pure"),
    **dict.fromkeys((f"2.16.840.1.101.3.4.3.{number}" for number in (17, 18, 19)), "pure"),
}


class Asked(Struct, frozen=True):
    """What was asked for. `key`: DER SubjectPublicKeyInfo; `names`, `usages`, `purposes`: words (certificate.py).

    `exact` False: the CA may write the subject its own way (`check_subject: key`). `old`: what the request replaces.
    """

    key: bytes
    subject: x509.Name
    names: frozenset[str]
    old: x509.Certificate | None = None
    exact: bool = True
    usages: frozenset[str] = frozenset()
    purposes: frozenset[str] = frozenset()


class Terms(Struct, frozen=True):
    """What else decides about a successor. `in_place`: the certificate it succeeds, None for a first enrollment.

    `may_end_earlier`: than `in_place`. `serves_tls`: something else says that the consumer is a TLS server.
    """

    in_place: x509.Certificate | None = None
    may_end_earlier: bool = False
    accept_names: Sequence[AcceptedName] = ()
    may_lose: Collection[str] = field(default_factory=frozenset)
    serves_tls: bool = False

    def permits(self, kind: str, word: str) -> bool:
        """Whether this loss is intended: `word`, or all of its kind."""
        return kind in self.may_lose or any(each == word or each.lower() == word for each in self.may_lose)


NO_TERMS = Terms()


class Lack(Struct, frozen=True):
    """One thing that a certificate lacks: `kind` is its configuration key, `word` the thing itself."""

    kind: str
    word: str


def our_certificate(received: Sequence[x509.Certificate], key: bytes) -> x509.Certificate:
    """The one certificate for our key (rule 1). UnfitError if the answer holds none, or several."""
    received = [each for each in dict.fromkeys(received) if facts.is_readable(each)]
    ours = [each for each in received if public_bytes(each.public_key()) == key]
    if len(ours) != 1:
        found = "no certificate for our key" if not ours else f"{len(ours)} certificates for our key"
        raise UnfitError(f"the CA's answer holds {found}", LOOK)
    return ours[0]


def accept_certificate(
    received: Sequence[x509.Certificate],
    asked: Asked,
    authority: Believed,
    accept: Collection[str],
    now: datetime,
    *,
    terms: Terms = NO_TERMS,
    may_begin: datetime | None = None,
) -> tuple[x509.Certificate, tuple[x509.Certificate, ...]]:
    """The one certificate for our key, with the chain above it. Raises UnfitError.

    `may_begin`: how late its validity may begin; only a rollover's may begin in the future.
    """
    mine = our_certificate(received, asked.key)
    try:
        chain = _chain(mine, received, authority, accept, now, until=max(now, may_begin or now) + SKEW)
    except UnprovenError as error:
        raise _unproven(error) from None
    _check_kind(mine, asked)
    _check_subject(mine, asked)
    _check_added(mine, asked, terms)
    _check_lost(mine, asked, terms)
    for role in sorted(roles(mine, asked, terms)):
        if not _fits_role(mine, role):
            raise UnfitError(f"the certificate's key usage or purposes do not allow its use for {role}", LOOK)
    _check_end(mine, terms, now)
    return mine, chain


def _chain(
    mine: x509.Certificate,
    received: Sequence[x509.Certificate],
    authority: Believed,
    accept: Collection[str],
    now: datetime,
    *,
    until: datetime,
) -> tuple[x509.Certificate, ...]:
    """The path from our certificate up to the top of the authority's own chain."""
    received = [each for each in dict.fromkeys(received) if facts.is_readable(each)]
    *below, top = authority.chain
    begins = max(each.not_valid_before_utc for each in (mine, *authority.chain))
    pool = (*below, *received)
    return soon(lambda at: prove(mine, pool, (top,), at, accept=accept), now, min(begins, until)).above


def _unproven(error: UnprovenError) -> UnfitError:
    if error.why == "stranger":
        return UnfitError("the certificate is not issued by the pinned CA", "nothing was installed")
    return UnfitError(str(error), error.hint)


def _check_kind(mine: x509.Certificate, asked: Asked) -> None:
    """Rules 1 and 2."""
    if mine == asked.old:
        raise UnfitError("the CA sent the current certificate again", "the CA may require a new key: set rekey: always")
    if facts.is_ca(mine):
        raise UnfitError("the CA issued a CA certificate", LOOK)
    parts = read_parts(facts.to_der(mine))
    family = _OWN_ALGORITHMS.get(parts.key_algorithm) if parts is not None else None
    if family is None:
        raise UnfitError("the CA labelled our key with another algorithm, so no service can use it", LOOK)
    usages = usage_words(mine)
    if usages is not None and not usages & _USABLE[family]:
        found = ", ".join(sorted(usages)) or "nothing"
        raise UnfitError(f"no service can use the certificate: its key usage is {found}", LOOK)


def _check_subject(mine: x509.Certificate, asked: Asked) -> None:
    if asked.exact and mine.subject != asked.subject:
        raise UnfitError(
            f"the CA issued {_quoted(mine.subject)}, but {_quoted(asked.subject)} was requested",
            "request the subject as this CA writes it, or set check_subject: key",
        )


def _quoted(name: x509.Name) -> str:
    return repr(facts.name_text(name) if list(name) else "(no subject)")


def added_names(mine: x509.Certificate, asked: Asked, accept: Iterable[AcceptedName] = ()) -> frozenset[str]:
    """The names that nobody asked for, and that the configuration does not accept either (rule 3)."""
    common = {str(each.value).lower() for each in asked.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)}
    known = asked.names | {f"dns:{name}" for name in common}
    accept = tuple(accept)
    return frozenset(
        each
        for each in facts.alternative_names(mine)
        if each not in known and not any(name.covers(each) for name in accept)
    )


def _check_added(mine: x509.Certificate, asked: Asked, terms: Terms) -> None:
    if added := added_names(mine, asked, terms.accept_names):
        raise UnfitError(
            f"the certificate has names that were not requested: {facts.names_text(added)}",
            f"nothing was installed; if the CA may add them, write {in_yaml('accept_names', added)}",
        )


def lacks(mine: x509.Certificate, asked: Asked) -> list[Lack]:
    """What a certificate lacks of what was asked for: names, usages, purposes.

    Only what is written counts: a consumer may require a purpose (OpenVPN's remote-cert-tls, Windows' supplicant),
    although RFC 5280 allows every purpose if none is written.
    """
    usages = usage_words(mine) or frozenset()
    purposes = purpose_words(facts.extended_key_usage(mine))
    names = asked.names - facts.alternative_names(mine)
    return [
        *(Lack("san", word) for word in sorted(names)),
        *(Lack("key_usage", word) for word in sorted(_that_count(asked.usages, mine) - usages)),
        *(Lack("extended_key_usage", word) for word in sorted(asked.purposes - purposes)),
    ]


def lacks_of(
    mine: x509.Certificate, names: Iterable[AlternativeName], usages: Collection[str], purposes: Collection[str]
) -> list[Lack]:
    """What the certificate in place lacks of what its definition asks for. Raises ConfigError."""
    wanted_usages, wanted_purposes = asked_usages(facts.usage_extensions(usages, purposes))
    wanted = facts.alternative_names(facts.general_names(names))
    return lacks(mine, Asked(b"", mine.subject, wanted, usages=wanted_usages, purposes=wanted_purposes))


def _that_count(usages: frozenset[str], mine: x509.Certificate) -> frozenset[str]:
    """The usages that the new key can have at all: only an RSA key can encipher (RFC 8813 §3).

    Key agreement together with a signature does not count: TLS and IKE sign, and many CAs leave it out.
    """
    parts = read_parts(facts.to_der(mine))
    family = _OWN_ALGORITHMS.get(parts.key_algorithm, "") if parts is not None else ""
    counted = usages & _USABLE.get(family, frozenset())
    return counted - {"key_agreement"} if "digital_signature" in usages else counted


def _check_lost(mine: x509.Certificate, asked: Asked, terms: Terms) -> None:
    """Rule 4."""
    in_place = terms.in_place
    if in_place is not None:
        asked = Asked(
            asked.key,
            asked.subject,
            asked.names | facts.alternative_names(in_place),
            usages=asked.usages | (usage_words(in_place) or frozenset()),
            purposes=asked.purposes | purpose_words(facts.extended_key_usage(in_place)),
        )
    lost = [each for each in lacks(mine, asked) if not terms.permits(each.kind, each.word)]
    if in_place is None:
        lost = [each for each in lost if each.kind != "key_usage"]
    if lost:
        words = [each.word for each in lost]
        what = "which was requested" if in_place is None else "which the current one has"
        raise UnfitError(
            f"the certificate lacks {', '.join(words)}, {what}",
            f"nothing was installed; if that is intended, write {in_yaml('may_lose', words)}",
        )


def roles(mine: x509.Certificate, asked: Asked, terms: Terms) -> frozenset[str]:
    """The TLS roles it must work in: those asked for that the one in place has; if none, those it allows."""
    every = frozenset(_TLS_USAGES)
    wanted = every & asked.purposes
    if terms.in_place is not None:
        wanted = frozenset(each for each in wanted if _fits_role(terms.in_place, each))
    purposes = purpose_words(facts.extended_key_usage(mine))
    wanted = frozenset(each for each in wanted if each in purposes or not terms.permits("extended_key_usage", each))
    if terms.serves_tls:
        wanted |= {SERVER}
    return wanted or frozenset(each for each in every if _fits_role(mine, each))


def _fits_role(certificate: x509.Certificate, role: str) -> bool:
    """Whether its extensions allow this role in TLS."""
    purposes = purpose_words(facts.extended_key_usage(certificate))
    usages = usage_words(certificate)
    return (not purposes or role in purposes) and (usages is None or bool(usages & _TLS_USAGES[role]))


def _check_end(mine: x509.Certificate, terms: Terms, now: datetime) -> None:
    """Rule 5."""
    end, old = mine.not_valid_after_utc, terms.in_place
    left = end - max(now, mine.not_valid_before_utc)
    if left < _SHORTEST:
        raise UnfitError(f"the certificate expires almost at once, at {iso(end)}", LOOK)
    if old is None or end >= old.not_valid_after_utc:
        return
    what = f"the certificate expires at {iso(end)}, before the current one ({iso(old.not_valid_after_utc)})"
    if not terms.may_end_earlier:
        raise UnfitError(what, "nothing was installed; `renew --force` accepts one that expires earlier")
    if left < min(_SHORT, (old.not_valid_after_utc - now) / 10):
        raise UnfitError(f"{what}, too soon for another attempt", LOOK)


def in_yaml(key: str, words: Iterable[str]) -> str:
    """A configuration line with a list of words."""
    return f"`{key}: [{', '.join(_scalar(word) for word in sorted(words))}]`"


def _scalar(word: str) -> str:
    plain = word and not set(word) & set(",[]{}#&*!|>'\"%@`\\ ") and word.isprintable()
    return word if plain else f'"{word}"'
