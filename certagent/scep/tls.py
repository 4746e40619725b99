"""What certagent requires of a TLS server, and what it shows the server: the same on every Python and library.

ssl.create_default_context() and urllib3 have their own rules, which change: since Python 3.13 both refuse certificates
without things that RFC 5280 asks of issuers but nobody used to miss. A device must not lose its CA because its
interpreter was upgraded. Ciphers and the security level stay the host's (openssl.cnf): its administrator sets them.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from certagent.errors import ConfigError
from certagent.text import one_line

Pair = tuple[Path, Path]
"""PEM files: a certificate with its chain, and its unencrypted key."""

_VERIFY = (
    # The chain ends at a trusted certificate, even if the server also sends that one under another issuer.
    ssl.VERIFY_X509_TRUSTED_FIRST
    # A certificate in https_ca_file is trusted, root or not: naming only the intermediate CA, or
    # only the server's certificate, trusts less than naming the root. curl does the same.
    | ssl.VERIFY_X509_PARTIAL_CHAIN
)
# Left out: VERIFY_X509_STRICT. It refuses chains that lack a formal detail (a key identifier, a `critical`),
# though every signature, date, name and CA flag is right: devices depend on private CAs of ten years ago.


def context_for(ca_file: Path | None, pair: Pair | None = None) -> ssl.SSLContext:
    """Trusts chains to a certificate in `ca_file`, or else to the host's trust store (where openssl finds it:
    SSL_CERT_FILE, SSL_CERT_DIR); shows `pair` to servers that ask. Raises ConfigError for unusable files.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks certificate and host name
    context.hostname_checks_common_name = False  # the name must be in subjectAltName
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("DEFAULT")  # OpenSSL's list, not the one that some builds of Python set
    context.verify_flags = _VERIFY
    context.post_handshake_auth = True  # IIS asks for our certificate only after it knows the path
    if ca_file is None:
        context.set_default_verify_paths()
    else:
        _load_roots(context, ca_file)
    if pair is not None:
        _load_pair(context, pair)
    return context


def _load_roots(context: ssl.SSLContext, ca_file: Path) -> None:
    try:
        context.load_verify_locations(ca_file)
    except OSError as error:  # ssl.SSLError is an OSError
        raise ConfigError(
            f"https_ca_file {ca_file} cannot be used: {reason(error)}", "it must hold the trusted certificates as PEM"
        ) from None


def _load_pair(context: ssl.SSLContext, pair: Pair) -> None:
    try:
        # Without the empty passphrase, OpenSSL would ask for an encrypted key's passphrase at the terminal.
        context.load_cert_chain(*pair, password="")
    except OSError as error:
        raise ConfigError(
            f"https_client_certificate {pair[0]} cannot be used: {reason(error)}",
            "it and https_client_key must be PEM and belong together, and the key must not be encrypted",
        ) from None


def reason(error: OSError) -> str:
    """OpenSSL's words, or the operating system's."""
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not PEM").lower().replace("_", " ")
    return one_line(error.strerror or str(error))


_ASK = "the CA's operator has to fix it"
_NAME_IT = "add its root to the host's trust store, or name it in https_ca_file"
_LOOK_AT_THE_CLOCK = f"is the clock right? If so, {_ASK}"
_LOOK_AT_THE_URL = "the authority's url must use a name from the server's certificate"
_TO_DO = {  # by OpenSSL's X509_V_ERR_…
    2: _NAME_IT,  # UNABLE_TO_GET_ISSUER_CERT
    18: _NAME_IT,  # DEPTH_ZERO_SELF_SIGNED_CERT
    19: _NAME_IT,  # SELF_SIGNED_CERT_IN_CHAIN
    20: _NAME_IT,  # UNABLE_TO_GET_ISSUER_CERT_LOCALLY
    21: _NAME_IT,  # UNABLE_TO_VERIFY_LEAF_SIGNATURE
    9: _LOOK_AT_THE_CLOCK,  # CERT_NOT_YET_VALID
    10: _LOOK_AT_THE_CLOCK,  # CERT_HAS_EXPIRED
    62: _LOOK_AT_THE_URL,  # HOSTNAME_MISMATCH
    64: _LOOK_AT_THE_URL,  # IP_ADDRESS_MISMATCH
}


_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")


def trouble(host: str, error: ssl.SSLError) -> tuple[str, str]:
    """What went wrong with TLS, and what to do."""
    if isinstance(error, ssl.SSLCertVerificationError):
        why = one_line(error.verify_message)
        return f"{host} has a TLS certificate that is not trusted: {why}", _TO_DO.get(error.verify_code, _ASK)
    # TLS 1.3 servers notice a missing client certificate only after the handshake, and may close before they say so.
    gone = isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError)
    why = "it closed the connection" if gone else (error.reason or "unknown").lower().replace("_", " ")
    if gone or "alert" in why:
        return (
            f"{host} refuses the TLS connection: {why}",
            "does it require an https_client_certificate, or another one?",
        )
    if error.reason in _NO_TLS:
        return f"{host} does not speak TLS on this port", "write http:// if it speaks plain HTTP, or correct the port"
    return f"{host} does not speak TLS: {why}", "is https:// right, and the port?"
