"""Whether a pair works: OpenSSL loads key, certificate and chain, and a peer that trusts the CA accepts them.

It makes a TLS handshake in memory, at a moment that the caller names, in the roles that the certificate is for. It
writes nothing. If OpenSSL cannot try the pair (a token's key, or something OpenSSL does not know), that is reported
and is not an error: then only the rules of `fitness` and a trial signature remain.

OpenSSL is cryptography's own, used through pyOpenSSL. In trust/, only this module uses its SSL.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Collection, Sequence
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from OpenSSL import SSL, crypto

from certagent import certificate as facts
from certagent.errors import KeystoreError, UnfitError
from certagent.keys import PrivateKey
from certagent.trust.fitness import CLIENT, LOOK, SERVER

# Error numbers of OpenSSL (x509_vfy.h) that a pair may still get after it passed the rules.
_WORDS = {
    2: "an intermediate CA is missing",
    9: "it is not valid yet",
    10: "it has expired",
    20: "an intermediate CA is missing",
    24: "a certificate above it is not a CA's",
    34: "it has an unknown critical extension",
}
_MISUSED = "its key usage or purposes do not allow it"
_WEAK = "a key or a digest in its chain is too weak for OpenSSL"
_REFUSED = "certificate verify failed"
_ROUNDS = 12  # messages back and forth; a handshake takes three
_TLS_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)


def prove_use(
    key: PrivateKey,
    certificate: x509.Certificate,
    chain: Sequence[x509.Certificate],
    *,
    roles: Collection[str],
    at: datetime,
    weak: bool = False,
) -> str:
    """Load the pair as a consumer does, and check that a peer that trusts the last of `chain` accepts it in `roles`.

    `at`: aware. `weak`: digests or keys were accepted that OpenSSL's default level refuses. Returns what could not be
    tried, in words, empty if everything was. Raises UnfitError.
    """
    if words := untried(key):
        return words
    at = max([at, *(each.not_valid_before_utc for each in (certificate, *chain))])
    trial = _Trial(key, certificate, chain, at.astimezone(UTC), weak=weak)
    if chain:
        trial.handshake(frozenset(roles))
    return ""


def untried(key: PrivateKey) -> str:
    """Why a pair with this key cannot be tried out; empty if it can."""
    if isinstance(key, ec.EllipticCurvePrivateKey) and not isinstance(key.curve, _TLS_CURVES):
        return "OpenSSL cannot make a TLS connection with this kind of key"
    try:
        key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    except KeystoreError:
        return "its key cannot leave the token"
    return ""


class _Trial:
    """Two ends of one connection, both with the pair: each end verifies the other's certificate, or does not."""

    def __init__(
        self,
        key: PrivateKey,
        certificate: x509.Certificate,
        chain: Sequence[x509.Certificate],
        at: datetime,
        *,
        weak: bool,
    ) -> None:
        self._key, self._certificate, self._chain, self._at = _for_openssl(key), certificate, chain, at
        small = any(isinstance(k := each.public_key(), rsa.RSAPublicKey) and k.key_size < 2048 for each in chain)
        self._level = 0 if weak or small else 2
        self._contexts: dict[tuple[int, bool], SSL.Context] = {}
        self._context(verify=bool(chain))  # loads it, whatever its roles

    def _context(self, *, verify: bool) -> SSL.Context:
        """With the pair. Two ends that both verify share one."""
        if (self._level, verify) not in self._contexts:
            self._contexts[self._level, verify] = self._made(verify=verify)
        return self._contexts[self._level, verify]

    def _made(self, *, verify: bool) -> SSL.Context:
        context = SSL.Context(SSL.TLS_METHOD)
        try:
            context.set_cipher_list(f"DEFAULT@SECLEVEL={self._level}".encode())
            context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
            context.set_options(SSL.OP_NO_TICKET)  # there is no second connection
            with warnings.catch_warnings():
                # pyOpenSSL wants cryptography's certificates here, which support fewer names than OpenSSL, and its
                # keys, each of which it would load anew.
                warnings.simplefilter("ignore", DeprecationWarning)
                context.use_certificate(_loaded(self._certificate))
                for each in self._chain[:-1]:
                    context.add_extra_chain_cert(_loaded(each))
                context.use_privatekey(self._key)
            context.check_privatekey()
        except SSL.Error as error:
            raise UnfitError(f"OpenSSL cannot load the certificate with its key: {_reason(error)}", LOOK) from None
        if verify and (store := context.get_cert_store()) is not None:
            self._trust(store)
            # No callback, though it would say why: cffi needs memory for it that is writable and executable, and
            # a service may be forbidden that (MemoryDenyWriteExecute=).
            context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
        return context

    def _trust(self, store: crypto.X509Store) -> None:
        store.add_cert(_loaded(self._chain[-1]))
        store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
        store.set_time(self._at.replace(tzinfo=None))  # pyOpenSSL takes the fields of a naive time as UTC

    def handshake(self, roles: frozenset[str]) -> None:
        """Raises UnfitError if one end does not accept the other."""
        try:
            self._shake_hands(roles)
        except SSL.Error as error:
            what = f"a TLS peer would reject the certificate for {' and '.join(sorted(roles))}"
            raise UnfitError(f"{what}: {self._why(roles, error)}", LOOK) from None

    def _shake_hands(self, roles: frozenset[str]) -> None:
        """Raises SSL.Error."""
        if not roles:
            return
        server = SSL.Connection(self._context(verify=CLIENT in roles))
        client = SSL.Connection(self._context(verify=SERVER in roles))
        server.set_accept_state()
        client.set_connect_state()
        waiting = {client, server}
        for _ in range(_ROUNDS):
            for here, there in ((client, server), (server, client)):
                try:
                    here.do_handshake()
                    waiting.discard(here)
                except SSL.WantReadError:
                    pass
                _carry(here, there)
            if not waiting:
                return
        raise SSL.Error([])

    def _why(self, roles: frozenset[str], error: SSL.Error) -> str:
        """Why OpenSSL refuses the chain, tried without a connection; otherwise what the connection itself reports."""
        if _reason(error) != _REFUSED:
            return _reason(error)
        store = crypto.X509Store()
        self._trust(store)
        chain = [_loaded(each) for each in self._chain[:-1]]
        try:
            crypto.X509StoreContext(store, _loaded(self._certificate), chain).verify_certificate()
        except crypto.X509StoreContextError as fault:
            number, depth, words = fault.errors
            return f"{_WORDS.get(number, words)}{f' (CA {depth} above it)' if depth else ''}"
        if self._level:
            self._level = 0
            with contextlib.suppress(SSL.Error):
                self._shake_hands(roles)
                return _WEAK
        return _MISUSED


def _loaded(certificate: x509.Certificate) -> crypto.X509:
    return crypto.load_certificate(crypto.FILETYPE_ASN1, facts.to_der(certificate))


def _for_openssl(key: PrivateKey) -> crypto.PKey:
    """The key as pyOpenSSL takes it, loaded once for both ends. It does not know ML-DSA keys; its OpenSSL does."""
    return crypto.load_privatekey(
        crypto.FILETYPE_ASN1, key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    )


def _carry(here: SSL.Connection, there: SSL.Connection) -> None:
    with contextlib.suppress(SSL.WantReadError):
        there.bio_write(here.bio_read(1 << 17))


def _reason(error: SSL.Error) -> str:
    """OpenSSL's own words, or ours if it has none."""
    found = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return next((str(each[-1]) for each in found if each and each[-1]), "it gave no reason")
