"""The CA of a first configuration: fetched like `certagent scep` does, and trusted only for its fingerprint."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence

from cryptography import x509

from certagent import certificate as facts
from certagent.cli.assemble import clock
from certagent.cli.init import asking
from certagent.cli.scep import contact
from certagent.config.values import Fingerprint
from certagent.errors import ConfigError
from certagent.trust.rules import Pins, believe

_FEWEST = 8  # hex digits: no other CA has them by chance; against an attack, compare all of them


def request(url: str, arguments: argparse.Namespace, fingerprints: Sequence[Fingerprint] = ()) -> argparse.Namespace:
    """The arguments of a `certagent scep` operation."""
    return argparse.Namespace(
        url=url,
        ca_identifier=arguments.ca_identifier,
        proxy=arguments.proxy,
        timeout=30.0,
        capture=None,
        fingerprint=list(fingerprints),
        ca=[],
        accept=arguments.accept,
        encryption_certificate=None,
    )


def offered(url: str, arguments: argparse.Namespace) -> list[x509.Certificate]:
    """What the URL offers; nothing is trusted yet. Raises ConfigError, TransientError, TrustError."""
    return list(contact.client(request(url, arguments)).get_ca_certificates())


def show(certificates: Sequence[x509.Certificate]) -> None:
    for each in certificates:
        kind = "CA" if facts.is_ca(each) else "not a CA (an RA?)"
        first, *rest = contact.describe(each)
        for line in (f"{kind}: {first}", *rest):
            contact.say(line)


def believed(certificates: Sequence[x509.Certificate], pin: Fingerprint, accept: Sequence[str]) -> Fingerprint:
    """The pin, if it names the CA or one above it. Raises TrustError, with both fingerprints."""
    believe(list(certificates), Pins((pin,), (), frozenset(accept)), clock())
    return pin


def compared(certificates: Sequence[x509.Certificate]) -> Fingerprint:
    """The fingerprint of the CA, after the user has compared it. Raises ConfigError if it was not the right one."""
    print("Ask the CA's operator for the fingerprint, not over this network, and compare it with the one above.")
    cas = [each for each in certificates if facts.is_ca(each)] or list(certificates)
    question = f"Type its first {_FEWEST} digits or more, as the operator gave them; `yes` if you compared it; or `no`"
    while True:
        typed = asking.ask(question, lambda _: "")
        if typed.lower() == "no":
            raise ConfigError("the CA was not confirmed", "nothing was written; find out who answers at this URL")
        found, why = matching(cas, typed)
        if found is not None:
            return facts.fingerprint(found)
        print(f"  {why}")


def matching(cas: Sequence[x509.Certificate], typed: str) -> tuple[x509.Certificate | None, str]:
    """The certificate that was meant; otherwise why there is none."""
    if typed.lower() == "yes":
        return (cas[0], "") if len(cas) == 1 else (None, "there are several; type the digits of the one you mean")
    digits = re.sub(r"[\s:]", "", re.sub(r"(?i)^sha256( fingerprint)?\s*[:=]", "", typed)).lower()
    if not re.fullmatch(r"[0-9a-f]+", digits) or len(digits) < _FEWEST:
        return None, f"these are not {_FEWEST} hexadecimal digits or more of a sha256 fingerprint"
    for each in cas:
        if facts.fingerprint(each).digest.hex().startswith(digits):
            return each, ""
    shown = " or ".join(str(facts.fingerprint(each)) for each in cas)
    return None, f"refused: the CA has {shown}, not {digits}; a typo, or another server answers at this URL"
