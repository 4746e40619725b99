"""Which well-known CA an address and capabilities are those of: for a pointer to docs/cas.md, and for nothing else.

Exact marks alone, each its product's own; whoever has none of them is not guessed at. OpenXPKI has none: its address is
everybody's.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from certagent.scep import Capabilities

# The path that a product answers at, wherever it stands → its heading in docs/cas.md.
_PATHS = {
    r"(?i:/certsrv/mscep/mscep\.dll)(/pkiclient\.exe)?": "NDES",
    r"/ejbca/publicweb/apply/scep/([^/]+/)?pkiclient\.exe": "EJBCA",
    r"/gw/scep/([^/]+/){0,2}pkiclient\.exe": "XiPKI",
    r"/ca/cgi-bin/pkiclient\.exe": "Dogtag",
    r"/v1/[^/].*/scep": "Vault",
}
# The address that RFC 8894 §4.1 has for an example is everybody's; the router says what it is in its Server header.
_PATHS_OF_IOS = {r"/cgi-bin/pkiclient\.exe": "Cisco IOS"}
# Both are made with micromdm's library, and say this, no word more or less.
_MICROMDM_WORDS = {"AES", "DES3", "POSTPKIOperation", "Renewal", "SCEPStandard", "SHA-1", "SHA-256"}
_PATHS_OF_MICROMDM_WORDS = {r"/scep": "micromdm", r"/scep/[^/]+": "step-ca"}


def known_ca(url: str, capabilities: Capabilities | None, server: str = "") -> str:
    """Its heading in docs/cas.md; empty if there are no marks of one. `capabilities` None: it was not asked."""
    paths = dict(_PATHS)
    if server == "cisco-IOS":
        paths |= _PATHS_OF_IOS
    if capabilities is not None and capabilities.names == _MICROMDM_WORDS:
        paths |= _PATHS_OF_MICROMDM_WORDS
    path = urlsplit(url).path.rstrip("/")
    return next((name for pattern, name in paths.items() if re.fullmatch(pattern, path)), "")
