"""Which well-known CA an address and capabilities are those of: for a pointer to docs/cas.md, and for nothing else.

Exact marks alone, each its product's own; whoever has none of them is not guessed at. OpenXPKI and Cisco IOS have none:
their addresses are everybody's.
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
# Both are made with micromdm's library, and say this, no word more or less.
_MICROMDM_WORDS = {"AES", "DES3", "POSTPKIOperation", "Renewal", "SCEPStandard", "SHA-1", "SHA-256"}
_PATHS_OF_MICROMDM_WORDS = {r"/scep": "micromdm", r"/scep/[^/]+": "step-ca"}


def known_ca(url: str, capabilities: Capabilities | None) -> str:
    """Its heading in docs/cas.md; empty if there are no marks of one. `capabilities` None: it was not asked."""
    paths = dict(_PATHS)
    if capabilities is not None and capabilities.names == _MICROMDM_WORDS:
        paths |= _PATHS_OF_MICROMDM_WORDS
    path = urlsplit(url).path.rstrip("/")
    return next((name for pattern, name in paths.items() if re.fullmatch(pattern, path)), "")
