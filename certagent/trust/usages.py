"""Key usages and purposes as words of the configuration: what a certificate has, and what a request asks for. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from cryptography import x509

from certagent import certificate as facts
from certagent.config import names

_PURPOSES = {oid: word for word, oid in reversed(names.PURPOSES.items())}
_USAGES = (*names.KEY_USAGES, "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")


def usage_words(source: x509.Certificate | x509.KeyUsage) -> frozenset[str] | None:
    """The key usages as words of the configuration (digital_signature …); None for a certificate without them."""
    usage = facts.key_usage(source) if isinstance(source, x509.Certificate) else source
    return None if usage is None else _words(usage)


@lru_cache(maxsize=32)  # the rules about one certificate ask a dozen times
def _words(usage: x509.KeyUsage) -> frozenset[str]:
    agreed = usage.key_agreement  # the last two are only defined together with it
    return frozenset(word for word in _USAGES if (agreed or not word.endswith("_only")) and getattr(usage, word))


def purpose_words(purposes: Iterable[str]) -> frozenset[str]:
    """Dotted OIDs as the configuration writes purposes: server_auth, or the OID if there is no word for it."""
    return frozenset(_PURPOSES.get(each, each) for each in purposes)


def asked_usages(extensions: Iterable[x509.Extension[x509.ExtensionType]]) -> tuple[frozenset[str], frozenset[str]]:
    """The key usages and the purposes that a request with these extensions asks for, as words."""
    usages: frozenset[str] = frozenset()
    purposes: frozenset[str] = frozenset()
    for each in extensions:
        if isinstance(each.value, x509.KeyUsage):
            usages = usage_words(each.value) or usages
        elif isinstance(each.value, x509.ExtendedKeyUsage):
            purposes = purpose_words(purpose.dotted_string for purpose in each.value)
    return usages, purposes
