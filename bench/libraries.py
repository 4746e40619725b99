"""The libraries that a renewal loads, and one HTTP exchange: what a command for one renewal costs before certagent has
done anything. Loaded as certagent loads them: without garbage collection, not at the end either.

python bench/libraries.py URL        of a SCEP server; the process is measured from outside
"""

from __future__ import annotations

import atexit
import gc
import importlib
import sys

ALL = (
    *("argparse", "subprocess", "msgspec", "yaml", "asn1crypto.cms", "OpenSSL.SSL", "cryptography.x509"),
    *(f"cryptography.hazmat.primitives.{each}" for each in ("serialization", "ciphers", "asymmetric.padding")),
    "requests",
)


def main() -> int:
    gc.disable()
    atexit.register(gc.freeze)
    *_, requests = map(importlib.import_module, ALL)
    with requests.Session() as session:
        session.trust_env = False
        session.get(sys.argv[1], params={"operation": "GetCACaps"}, timeout=30).raise_for_status()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
