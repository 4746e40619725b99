"""What certagent asks the CA for: subject, names, usages, and for which key. Pure.

`digest` shows whether an open request is still the one that certagent would make now.
"""

from __future__ import annotations

import hashlib

import msgspec
from cryptography import x509

from certagent import certificate as facts
from certagent import lenient, scep
from certagent.config.authority import Authority
from certagent.config.introduction import Introduction
from certagent.config.keystores import KeystoreDefinition
from certagent.errors import ConfigError
from certagent.transaction.planned_request import PlannedRequest, SignedBy
from certagent.trust.usages import asked_usages

_USAGES = frozenset({x509.KeyUsage.oid, x509.ExtendedKeyUsage.oid})


class Wanted(msgspec.Struct, frozen=True):
    """What a request asks for; the key is made separately."""

    subject: x509.Name
    names: x509.SubjectAlternativeName | None
    extensions: tuple[x509.Extension[x509.ExtensionType], ...]


def wanted(
    name: str,
    definition: KeystoreDefinition,
    predecessor: x509.Certificate | None,
    replaced: x509.Certificate | None,
) -> Wanted:
    """`name`: the keystore's name, for errors. `predecessor`: what gets a successor; None for an enrollment that no
    identity signs. `replaced`: what is in the keystore.

    A successor keeps what its predecessor has, no matter who put it there. An enrollment asks for what the definition
    says, and otherwise for what the certificate it replaces has. Raises ConfigError.
    """
    if predecessor is not None:
        return Wanted(*_identity_of(predecessor), tuple(scep.kept_extensions(predecessor)))
    asked = facts.usage_extensions(definition.key_usage, definition.extended_key_usage)
    if replaced is not None:
        missing = _USAGES - {each.oid for each in asked}
        asked += [each for each in scep.kept_extensions(replaced) if each.oid in missing]
    if definition.template:
        asked = [*asked, scep.certificate_template(definition.template)]
    if definition.says_whom:
        return Wanted(
            _subject(definition, replaced), facts.general_names(tuple(dict.fromkeys(definition.san))), tuple(asked)
        )
    if replaced is not None:
        return Wanted(*_identity_of(replaced), tuple(asked))
    raise ConfigError(
        f"keystore {name} has no subject or san to enroll with", "set `subject` or `san` in its configuration"
    )


def _identity_of(certificate: x509.Certificate) -> tuple[x509.Name, x509.SubjectAlternativeName | None]:
    return lenient.proper(certificate.subject), facts.san_extension(certificate)


def _subject(definition: KeystoreDefinition, replaced: x509.Certificate | None) -> x509.Name:
    if definition.subject is not None:
        return facts.parse_subject(definition.subject)
    return lenient.proper(replaced.subject) if replaced is not None else x509.Name([])


def digest(what: Wanted, how: PlannedRequest, authority: Authority, introduction: Introduction | None = None) -> str:
    """Changes if, and only if, the request would ask for something else, or in another way.

    The order of names and usages does not count. Of a secret, it only includes where the secret is read.
    """
    usages, purposes = asked_usages(what.extensions)
    others = [each for each in what.extensions if each.oid not in _USAGES]
    introduced = (introduction,) if how.signed_by is SignedBy.INTRODUCTION else ()
    said = (
        what.subject.public_bytes().hex(),
        sorted(facts.alternative_names(what.names)),
        (sorted(usages), sorted(purposes)),
        [(each.oid.dotted_string, each.value.public_bytes().hex()) for each in others],
        (how.signed_by, how.key, how.keeps_key, how.transport),
        authority.challenge if how.challenge else None,
        *introduced,
    )
    return hashlib.sha256(msgspec.json.encode(said, enc_hook=str)).hexdigest()
