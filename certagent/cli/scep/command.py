"""`certagent scep`: the protocol by hand, without a configuration, for scripts that used sscep.

The authority is trusted as everywhere: through a given fingerprint or certificate, never on first use.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any, get_args

from cryptography import x509

from certagent import certificate as facts
from certagent.cli.assemble import clock
from certagent.cli.scep import files
from certagent.cli.scep.contact import client, describe, pins, progress, reach, say, warn
from certagent.cli.scep.enroll import enroll
from certagent.cli.scep.query import getcert, getcrl
from certagent.cli.terminal import indented
from certagent.config.key_types import KeyType
from certagent.config.values import AcceptedName, AlternativeName, Duration, Fingerprint, Subject, Weak
from certagent.errors import CertagentError, ConfigError, TransientError
from certagent.text import iso, printable
from certagent.trust.next_ca import Offer, find_next
from certagent.trust.rules import Believed, Pins

_CIPHERS = ("aes128-cbc", "aes192-cbc", "aes256-cbc", "3des")
_DIGESTS = ("sha256", "sha384", "sha512", "sha1")


def run(arguments: argparse.Namespace) -> int:
    """Carry out one operation; the exit code. Raises any CertagentError."""
    operations: dict[str, Callable[[argparse.Namespace], int]] = {
        "getcaps": getcaps,
        "getca": getca,
        "getnextca": getnextca,
        "enroll": enroll,
        "getcert": getcert,
        "getcrl": getcrl,
    }
    try:
        return operations[arguments.operation](arguments)
    except CertagentError as error:
        for key, option in _OPTIONS:
            error.hint = error.hint.replace(key, option)
        raise


# Hints mention keys in agent.yaml; here these are options.
_OPTIONS = (
    ("the authority's `accept`", "--accept, each with its own"),
    ("the authority's `fingerprint` list", "--fingerprint"),
    ("write `accept_names: ", "give --accept-name for each: `"),
    ("the authority's url", "--url"),
    ("the authority's proxy", "--proxy"),
    ("The authority's timeout", "--timeout"),
    ("ca_identifier", "--ca-identifier"),
)


def getcaps(arguments: argparse.Namespace) -> int:
    """GetCACaps, one word a line. Nobody signs them."""
    words = sorted(client(arguments).get_capabilities().names)
    if arguments.json:
        print(indented({"capabilities": [printable(word) for word in words]}))
    else:
        for word in words:
            print(word)
    return 0


# ── getca ─────────────────────────────────────────────────────────────────────────────────────────


def getca(arguments: argparse.Namespace) -> int:
    """GetCACert. Writes only what is verified, unless --unverified asks for more."""
    if arguments.fingerprint or arguments.ca:
        believed = reach(arguments).believed
        _write_authority(arguments, believed)
        _tell(arguments, _roles(believed), _verified(believed, pins(arguments)))
        return 0
    if arguments.unverified and not arguments.out:
        raise ConfigError("--unverified needs --out", "give --out, or drop --unverified")
    if (arguments.out or arguments.ra_out) and not arguments.unverified:
        raise ConfigError(
            "no trusted CA is given, so nothing would be written",
            "give --fingerprint or --ca; run without --out to see the fingerprint; --unverified writes it anyway",
        )
    offered = client(arguments).get_ca_certificates()
    _tell(arguments, [("CA" if facts.is_ca(each) else "not a CA (an RA?)", each) for each in offered], "")
    if arguments.out:
        files.write(arguments.out, files.encoded(offered, der=arguments.der))
        warn(f"NOT VERIFIED, but written to {arguments.out}: anybody in between may have made it")
    warn("NOT VERIFIED: confirm the fingerprint with the CA's operator over another channel, then give --fingerprint")
    return 0


def _tell(
    arguments: argparse.Namespace, parts: Sequence[tuple[str, x509.Certificate]], verified: str, starts: str = ""
) -> None:
    """Certificates, each with what it is; why they are trusted (empty if they are not); when they take over."""
    if arguments.json:
        found = [{"role": role, **_facts(each)} for role, each in parts]
        told = {"verified": bool(verified), "certificates": found, **({"starts": starts} if starts else {})}
        say(indented(told), beside=arguments.out, lines=True)
        return
    for role, each in parts:
        first, *rest = describe(each)
        for line in (f"{role}: {first}", *rest):
            say(line, beside=arguments.out)
    for line in (verified and f"verified: {verified}", starts and f"starts: {starts}"):
        if line:
            say(line, beside=arguments.out)


def _facts(certificate: x509.Certificate) -> dict[str, str]:
    return {
        "subject": printable(facts.subject_text(certificate)),
        "serial": facts.serial_hex(certificate),
        "not_before": iso(certificate.not_valid_before_utc),
        "not_after": iso(certificate.not_valid_after_utc),
        "fingerprint": str(facts.fingerprint(certificate)),
    }


def _roles(believed: Believed) -> list[tuple[str, x509.Certificate]]:
    """The certificates of an authority, each with what it is for."""
    found = []
    for certificate in (*believed.chain, *believed.ras):
        if certificate == believed.issuer:
            kind = "CA"
        elif certificate in believed.above:
            kind = "CA above it"
        else:
            uses = [
                *(["signs"] if certificate in believed.signers else []),
                *(["receives"] if certificate == believed.recipient else []),
            ]
            kind = f"RA, {' and '.join(uses)}"
        found.append((kind, certificate))
    return found


def _verified(believed: Believed, named: Pins) -> str:
    if any(facts.fingerprint(believed.issuer, pin.algorithm) == pin for pin in named.fingerprints):
        how = "the CA's fingerprint is the one given"
    elif believed.issuer in named.anchors:
        how = "the CA's certificate is in --ca"
    else:
        how = "the CA is issued by a given CA"
    return f"{how}{'; its RA certificates are issued by it' if believed.ras else ''}"


def _write_authority(arguments: argparse.Namespace, believed: Believed) -> None:
    """--out: the CA and what is above it. --ra-out: its RA certificates."""
    if arguments.ra_out and not believed.ras:
        raise ConfigError("--ra-out: this authority has no RA certificate", "drop --ra-out")
    if arguments.out:
        files.write(arguments.out, files.encoded(believed.chain, der=arguments.der))
    if arguments.ra_out:
        files.write(arguments.ra_out, files.encoded(believed.ras, der=arguments.der))


# ── getnextca ─────────────────────────────────────────────────────────────────────────────────────


def getnextca(arguments: argparse.Namespace) -> int:
    """GetNextCACert. Never writes what is not authenticated (TrustError)."""
    contact = reach(arguments)
    if not contact.capabilities.next_ca:
        progress("the CA does not advertise GetNextCACert; asking anyway")
    answer = contact.client.get_next_ca_certificates(signers=contact.believed.signers, accept=arguments.accept)
    offer = Offer(answer.certificates, answer.signed_by)
    found = find_next(offer, contact.believed, pins(arguments), arguments.next_fingerprint, clock())
    if found is None:
        raise TransientError("the CA announces no CA other than the current one", "there may be no next one yet")
    _write_authority(arguments, found.believed)
    starts = iso(found.starts) if arguments.json else f"{found.starts:%F %T} UTC"
    _tell(arguments, _roles(found.believed), f"the next CA is {found.proof}", starts)
    return 0


# ── arguments ─────────────────────────────────────────────────────────────────────────────────────


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The six operations and their options."""
    operations = parser.add_subparsers(dest="operation", required=True, metavar="OPERATION", title="operations")

    def operation(name: str, text: str, *groups: Callable[[argparse.ArgumentParser], None]) -> argparse.ArgumentParser:
        example = f"examples:\n  certagent scep {name} --url http://scep.example.net/scep{_EXAMPLES[name]}"
        made = operations.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=example)
        _server(made, required=name != "getcrl")
        for add in groups:
            add(made)
        if name in ("getcaps", "getca", "getnextca"):
            made.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON, for programs")
        return made

    operation("getcaps", "show what the CA says it supports")
    getca = operation("getca", "show the CA's certificates and their fingerprints", _trusting, _writing, _ra_writing)
    getca.add_argument("--unverified", action="store_true", help="write unverified certificates (with --out)")
    nextca = operation("getnextca", "fetch and verify the next CA", _trusting, _writing, _ra_writing)
    nextca.add_argument(
        "--next-fingerprint", type=_typed(Fingerprint.parse), action="append", default=[], metavar="FP",
        help="fingerprint of the next CA that somebody has checked; for a CA that announces it unsigned",
    )  # fmt: skip
    _enrolling(operation("enroll", "get a certificate, the first one or a renewal", _trusting, _messages, _writing))
    _asking(operation("getcert", "get a certificate that the CA issued before", _trusting, _messages, _writing))
    getcrl = operation("getcrl", "get the CA's revocation list", _trusting, _messages, _writing)
    _asking(getcrl)
    getcrl.add_argument(
        "--from-certificate", action="store_true", help="fetch it from the address in --certificate: HTTP or LDAP"
    )
    for each in ("enroll", "getcert", "getcrl"):
        operations.choices[each].set_defaults(out=files.STANDARD)


_PIN = " --fingerprint sha256:8d5c…"
_EXAMPLES = {
    "getcaps": "",
    "getca": f"\n  certagent scep getca --url http://scep.example.net/scep{_PIN} --out ca.pem",
    "getnextca": f"{_PIN} --out next-ca.pem",
    "enroll": f"{_PIN} \\\n      --key web.key --subject CN=web.example.net --challenge-file secret --out web.pem",
    "getcert": f"{_PIN} \\\n      --sign-key web.key --sign-certificate web.pem --serial 4DA7C26D --out old.pem",
    "getcrl": f"{_PIN} \\\n      --sign-key web.key --sign-certificate web.pem --certificate web.pem --out crl.pem",
}


def _typed(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Makes the value's own error message argparse's."""

    def typed(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return typed


def _seconds(text: str) -> float:
    """`30`, or a duration such as `5m`."""
    return Duration.parse(f"{text}s" if text.replace(".", "", 1).isdigit() else text).total_seconds()


def _serial(text: str) -> int:
    """Hexadecimal, as openssl prints it (0x and colons allowed); or `dec:` and decimal digits."""
    digits = text.removeprefix("dec:")
    try:
        return int(digits) if digits != text else int(text.replace(":", ""), 16)
    except ValueError:
        raise ValueError(f"{text!r} is not a serial number; write it in hexadecimal, or dec:1234") from None


def _server(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument("--url", required=required, help="the CA's SCEP address")
    parser.add_argument(
        "--ca-identifier", metavar="WORD", help="the `message` for GetCACert, if the server has several CAs"
    )
    parser.add_argument("--proxy", metavar="URL", help="an HTTP proxy (default: the environment's)")
    parser.add_argument(
        "--timeout",
        type=_typed(_seconds),
        default=30.0,
        metavar="TIME",
        help="for each exchange with the CA (default: 30s)",
    )
    parser.add_argument(
        "--capture", metavar="DIR", help="keep the exchanged messages in this directory, without secrets"
    )


def _trusting(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--fingerprint", type=_typed(Fingerprint.parse), action="append", default=[], metavar="FP",
        help="fingerprint of the trusted CA: sha256:… (repeatable)")  # fmt: skip
    add("--ca", action="append", default=[], metavar="FILE", help="certificates of trusted CAs (repeatable)")
    add("--accept", action="append", default=[], choices=get_args(Weak),
        help="believe answers with a weak algorithm (repeatable)")  # fmt: skip
    parser.set_defaults(encryption_certificate=None)


def _writing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", metavar="FILE", help="where to write; - is standard output")
    parser.add_argument("--der", action="store_true", help="write DER, not PEM")


def _ra_writing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--ra-out", metavar="FILE", help="where to write the RA certificates")


def _messages(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--sign-key", metavar="FILE", help="key that signs the message, with --sign-certificate")
    add("--sign-certificate", metavar="FILE", help="the present certificate, for --sign-key")
    add("--encryption-certificate", metavar="FILE", help="encrypt to this certificate, not to those from GetCACert")
    add("--cipher", choices=_CIPHERS, help="(default: the best that the CA supports)")
    add("--digest", choices=_DIGESTS, help="(default: the best that the CA supports)")


def _enrolling(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--key", required=True, metavar="FILE", help="the private key; created if missing")
    add(
        "--key-type",
        choices=[each.value for each in KeyType],
        default=KeyType.RSA_2048.value,
        help="of a new key (default: %(default)s)",
    )
    add("--request", metavar="FILE", help="a PKCS#10 request; otherwise it is made from the options below")
    add("--subject", type=_typed(Subject.parse), help="e.g. CN=web.example.net,O=Example")
    add("--san", type=_typed(AlternativeName.parse), action="append", default=[], metavar="NAME",
        help="dns:, ip:, email:, uri: or upn: (repeatable)")  # fmt: skip
    add("--accept-name", type=_typed(AcceptedName.parse), action="append", default=[], metavar="NAME",
        help="a name that the CA may add (repeatable)")  # fmt: skip
    add("--challenge-file", metavar="FILE", help="holds the challenge password")
    add("--self-signed", metavar="FILE", help="file for the self-signed certificate; used again if it exists")
    add("--resume", action="store_true", help="only poll for a request that is pending")
    add("--poll-interval", type=_typed(_seconds), default=300.0, metavar="TIME", help="between two polls (default: 5m)")
    add("--poll-count", type=int, default=96, metavar="N", help="polls before giving up (default: 96, which is 8 h)")


def _asking(parser: argparse.ArgumentParser) -> None:
    which: Sequence[tuple[str, dict[str, Any]]] = (
        ("--serial", {"type": _typed(_serial), "help": "its serial number in hexadecimal, or dec:1234"}),
        ("--certificate", {"metavar": "FILE", "help": "the certificate in question"}),
    )
    for name, options in which:
        parser.add_argument(name, **options)
