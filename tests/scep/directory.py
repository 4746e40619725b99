"""A real LDAP directory on loopback, Debian's slapd, that publishes a CRL."""

from __future__ import annotations

import base64
import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.waiting import free_port, listens, until

ENTRY = "cn=CA 1,o=Example"

_CONFIGURATION = """\
include /etc/ldap/schema/core.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {0}/pid
database mdb
suffix "o=Example"
directory {0}/data
"""

_ENTRIES = """\
dn: o=Example
objectClass: organization
o: Example

dn: {entry}
objectClass: cRLDistributionPoint
cn: CA 1
certificateRevocationList;binary:: {crl}

dn: cn=empty,o=Example
objectClass: cRLDistributionPoint
cn: empty
"""


@contextlib.contextmanager
def directory(root: Path, crl: bytes) -> Iterator[str]:
    """slapd with `crl` at ENTRY; `127.0.0.1:PORT`."""
    (root / "data").mkdir(parents=True)
    configuration = root / "slapd.conf"
    configuration.write_text(_CONFIGURATION.format(root))
    entries = _ENTRIES.format(entry=ENTRY, crl=base64.b64encode(crl).decode())
    subprocess.run(["slapadd", "-f", str(configuration)], input=entries.encode(), check=True, capture_output=True)
    port = free_port()
    command = ["slapd", "-d", "0", "-f", str(configuration), "-h", f"ldap://127.0.0.1:{port}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            until(lambda: listens(port) or process.poll() is not None)
            assert process.poll() is None, "slapd ended"
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
