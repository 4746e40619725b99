"""The PEM block that leads OpenSSL's pkcs11-provider to a key, for programs that only read PEM files.

The provider reads this block in place of a private key, and has the token do what the key would. The block is a
SEQUENCE of a VisibleString, its version, and a UTF8String, the URI. There is nothing secret in it.
"""

from __future__ import annotations

from asn1crypto import core, pem

from certagent.keystore.token.uri import TokenUri

_LABEL = "PKCS#11 PROVIDER URI"
_VERSION = "PKCS#11 Provider URI v1.0"


class _Stanza(core.Sequence):  # type: ignore[misc]  # asn1crypto has no types
    _fields = [("version", core.VisibleString), ("uri", core.UTF8String)]  # noqa: RUF012


def stanza(uri: TokenUri) -> bytes:
    """The block for this key, ending with a newline."""
    return bytes(pem.armor(_LABEL, _Stanza({"version": _VERSION, "uri": str(uri)}).dump()))
