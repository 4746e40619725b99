"""The PEM block that leads OpenSSL's pkcs11-provider to a key, for programs that know nothing but PEM files.

Where a private key is expected, the provider reads this block, and has the token do what the key would: a SEQUENCE of a
VisibleString, its version, and a UTF8String, the URI. There is nothing secret in it.
"""

from __future__ import annotations

from asn1crypto import core, pem

from certagent.keystore.token.uri import TokenUri

_LABEL = "PKCS#11 PROVIDER URI"
_VERSION = "PKCS#11 Provider URI v1.0"


class _Stanza(core.Sequence):  # type: ignore[misc]  # asn1crypto has no types
    _fields = [("version", core.VisibleString), ("uri", core.UTF8String)]  # noqa: RUF012


def stanza(uri: TokenUri) -> bytes:
    """The block for this key, with a line's end."""
    return bytes(pem.armor(_LABEL, _Stanza({"version": _VERSION, "uri": str(uri)}).dump()))
