"""Which well-known CA has this address and these capabilities: only used to point to docs/cas.md.

Only exact marks count, each of a single product; without one there is no guess. OpenXPKI has none: any CA could have
its address.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from certagent.scep import Capabilities

# The path that a product answers at, wherever it is installed → its heading in docs/cas.md.
_PATHS = {
    r"(?i:/certsrv/mscep/mscep\.dll)(/pkiclient\.exe)?": "NDES",
    r"/ejbca/publicweb/apply/scep/([^/]+/)?pkiclient\.exe": "EJBCA",
    r"/gw/scep/([^/]+/){0,2}pkiclient\.exe": "XiPKI",
    r"/ca/cgi-bin/pkiclient\.exe": "Dogtag",
    r"/v1/[^/].*/scep": "Vault",
}
# Any CA could use RFC 8894 §4.1's example address; the router names itself in its Server header.
_PATHS_OF_IOS = {r"/cgi-bin/pkiclient\.exe": "Cisco IOS"}
# Both are built with micromdm's library, and list exactly these words.
_MICROMDM_WORDS = {"AES", "DES3", "POSTPKIOperation", "Renewal", "SCEPStandard", "SHA-1", "SHA-256"}
_PATHS_OF_MICROMDM_WORDS = {r"/scep": "micromdm", r"/scep/[^/]+": "step-ca"}


def known_ca(url: str, capabilities: Capabilities | None, server: str = "") -> str:
    """Its heading in docs/cas.md; empty if nothing marks it as one. `capabilities` is None if they are not known."""
    paths = dict(_PATHS)
    if server == "cisco-IOS":
        paths |= _PATHS_OF_IOS
    if capabilities is not None and capabilities.names == _MICROMDM_WORDS:
        paths |= _PATHS_OF_MICROMDM_WORDS
    path = urlsplit(url).path.rstrip("/")
    return next((name for pattern, name in paths.items() if re.fullmatch(pattern, path)), "")
