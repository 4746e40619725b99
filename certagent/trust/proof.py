"""Whether a certificate leads to a trusted one; no other module decides this (RFC 5280 §6).

    gate    leave out what would be expensive or weak, by its DER alone: sizes of keys, exponents, digests
    find    guess a path, step by step upward
    prove   give the whole path, and nothing else, to OpenSSL; what it accepts is the `Path`

So the same rules find and check a path, and neither the order of the certificates nor other certificates beside them
change the result. The rules here only narrow what OpenSSL proves: basicConstraints on every CA except an anchor, a path
length that allows what a CA is to issue, sound keys and digests.

OpenSSL is reached through pyOpenSSL's X509StoreContext, only in `_verify`. That is the same OpenSSL as cryptography's,
and it accepts names, serial numbers and algorithms that cryptography's own verification does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache, wraps
from typing import ParamSpec

from cryptography import x509
from msgspec import Struct, field
from OpenSSL import crypto

from certagent import certificate as facts
from certagent.errors import TrustError
from certagent.trust.parts import Parts, read_parts

# Limits on what is tried before anything is proven: no honest authority comes near, and together they keep the
# worst answer below a second of CPU.
MAX_CAS = 20
_MAX_HEIGHT = 8
_MAX_STEPS = 120
_RSA_BITS = range(2048, 8192 + 1)
_ANCHOR_BITS = range(1, 8192 + 1)
_EXPONENTS = range(3, 1 << 33)
_OTHER_KEYS = frozenset(
    {"secp256r1", "secp384r1", "secp521r1", "brainpool", "ed25519", "ed448", "ml-dsa:44", "ml-dsa:65", "ml-dsa:87"}
)
_ONLY_RECEIVE = frozenset({"ml-kem:512", "ml-kem:768", "ml-kem:1024", "x25519", "x448"})
_STRONG = frozenset(
    {"sha224", "sha256", "sha384", "sha512", "sha3-224", "sha3-256", "sha3-384", "sha3-512", "eddsa", "ml-dsa"}
)

# Error numbers of OpenSSL (x509_vfy.h).
_NOT_YET, _EXPIRED = 9, 10
_NO_ISSUER = frozenset({2, 18, 19, 20, 21, 29, 30, 31})
_BAD_SIGNATURES = frozenset({4, 6, 7})
_CONSTRAINED = frozenset(range(47, 54))
_NOT_ALLOWED = frozenset({24, 25, 32, 79})

_LOOK = "nothing was installed; ask the CA's operator"

Asked = ParamSpec("Asked")


class UnprovenError(TrustError):
    """No path. `why`: `stranger`, `expired`, `early`, `digest`, `not allowed`, or `other`."""

    kind = "trust"

    def __init__(self, message: str, hint: str, why: str) -> None:
        super().__init__(message, hint)
        self.why = why


class Path(Struct, frozen=True):
    """A proven path: the certificate in question first, the anchor last. Only `prove` makes one."""

    certificates: tuple[x509.Certificate, ...]

    @property
    def target(self) -> x509.Certificate:
        return self.certificates[0]

    @property
    def above(self) -> tuple[x509.Certificate, ...]:
        return self.certificates[1:]


def prove(
    target: x509.Certificate,
    pool: Iterable[x509.Certificate],
    anchors: Iterable[x509.Certificate],
    at: datetime,
    *,
    accept: Collection[str] = (),
    issuer: bool = False,
) -> Path:
    """The path from `target` through CAs of `pool` to one of the `anchors`, valid at the moment `at` (aware).

    `accept`: weak digests that may pass. `issuer`: the target will issue certificates itself, so the path length must
    allow one more below it. An anchor is trusted as such: its own signature is not checked, but its dates, usages and
    path length are. Raises UnprovenError.
    """
    believed = {facts.to_der(each): each for each in anchors}
    search = _Search(believed, at.astimezone(UTC), frozenset(accept), issuer)
    der = facts.to_der(target)
    search.admit(pool, but=der)
    parts = _gate(der, search.accept, anchor=der in believed)
    if isinstance(parts, UnprovenError):
        raise parts
    found = search.upward((parts,))
    if found is None:
        raise search.reason(parts)
    known = {**search.certificates, **believed, der: target}
    return Path(tuple(known[each.der] for each in found))


def _whether(question: Callable[Asked, Path]) -> Callable[Asked, bool]:
    """The same question, if only yes or no matters."""

    @wraps(question)
    def answer(*arguments: Asked.args, **words: Asked.kwargs) -> bool:
        try:
            question(*arguments, **words)
        except UnprovenError:
            return False
        return True

    return answer


is_proven = _whether(prove)


@lru_cache(maxsize=64)  # a renewal asks it five times about one certificate, and time has no part in the answer
def comes_from(certificate: x509.Certificate, ca: x509.Certificate) -> bool:
    """Whether `ca` issued it, whatever has expired since: checked at the moment its validity began."""
    try:
        at = max(certificate.not_valid_before_utc, ca.not_valid_before_utc)
    except facts.UNREADABLE:
        return False
    return certificate != ca and is_proven(certificate, (), (ca,), at, accept=("sha1", "md5"))


def check_fit(certificate: x509.Certificate, accept: Collection[str]) -> None:
    """Refuse a weak key or digest of a certificate that is trusted for another reason than a path. UnprovenError."""
    gated = _gate(facts.to_der(certificate), accept, anchor=False)
    if isinstance(gated, UnprovenError):
        raise gated


def is_same_ca(one: x509.Certificate, other: x509.Certificate) -> bool:
    """Whether `one` is a self-signed certificate of the CA whose name and key `other` certifies.

    The signature is verified separately: OpenSSL would not check the signature of an anchor.
    """
    mine, theirs = read_parts(facts.to_der(one)), read_parts(facts.to_der(other))
    if mine is None or theirs is None or mine.identity != theirs.identity or mine.subject != mine.issuer:
        return False
    return mine.digest in _STRONG and not _weak_key(mine, _ANCHOR_BITS) and facts.is_self_signed(one)


def is_twin(new: x509.Certificate, old: x509.Certificate) -> bool:
    """Whether `new` is the CA `old`, renewed with its key: same name and key, signed by that key, and ends later."""
    return new.not_valid_after_utc > old.not_valid_after_utc and is_same_ca(new, old)


class _Search(Struct):
    """One question: which CAs may be steps, how many steps are left, and why each try failed."""

    anchors: dict[bytes, x509.Certificate]
    at: datetime
    accept: frozenset[str]
    issuer: bool
    steps: int = _MAX_STEPS
    certificates: dict[bytes, x509.Certificate] = field(default_factory=dict)
    above: list[Parts] = field(default_factory=list)
    refused: list[tuple[Parts, UnprovenError]] = field(default_factory=list)
    failures: list[tuple[int, UnprovenError]] = field(default_factory=list)

    def admit(self, pool: Iterable[x509.Certificate], but: bytes) -> None:
        """Collect the CAs that may be steps: anchors first, then the others, whatever their order in `pool`."""
        for der in sorted(self.anchors):
            gated, parts = _gate(der, self.accept, anchor=der in self.anchors), read_parts(der)
            if not isinstance(gated, UnprovenError):
                self.above.append(gated)
            elif parts is not None:
                self.refused.append((parts, gated))
        for certificate in pool:
            der = facts.to_der(certificate)
            parts = read_parts(der)
            if parts is None or not parts.ca or der == but or der in self.anchors or der in self.certificates:
                continue
            self.certificates[der] = certificate
            gated = _gate(der, self.accept, anchor=der in self.anchors)
            if isinstance(gated, UnprovenError):
                self.refused.append((parts, gated))
        steps = sorted(self.certificates.keys() - {each.der for each, _ in self.refused})
        if len(steps) > MAX_CAS:
            raise UnprovenError(
                f"{len(steps)} CA certificates came together, more than {MAX_CAS}",
                "no honest authority has so many",
                "other",
            )
        self.above += [each for der in steps if (each := read_parts(der)) is not None]

    def upward(self, path: tuple[Parts, ...]) -> tuple[Parts, ...] | None:
        """The first path that holds, depth first."""
        if path[-1].der in self.anchors:
            return self._whole(path)
        if len(path) > _MAX_HEIGHT:
            return None
        for above in self.above:
            taken = any(above.der == each.der or above.identity == each.identity for each in path)
            if taken or not above.may_be_named(path[-1]) or not self._step(path, above):
                continue
            if (found := self.upward((*path, above))) is not None:
                return found
        for each, why in self.refused:
            if each.may_be_named(path[-1]):
                self.failures.append((len(path), why))
        return None

    def _step(self, path: tuple[Parts, ...], above: Parts) -> bool:
        """Whether `above` issued the last certificate of the path, as far as the two alone can show."""
        if not _may_issue(above, anchor=above.der in self.anchors):
            self.failures.append((len(path), _refuses(above)))
            return False
        if self.steps <= 0:
            return False
        self.steps -= 1
        error = _verify(path[-1].der, (), above.der, self.at)
        if not isinstance(error, _Refusal):
            return True
        if len(path) > 1 and error.code in _CONSTRAINED and path[-1].subject == path[-1].issuer:
            return True  # a CA's certificate for its own name is exempt from name constraints if it is above another
        self._fail(len(path), (*path, above), error)
        return False

    def _whole(self, path: tuple[Parts, ...]) -> tuple[Parts, ...] | None:
        proven = _verify(path[0].der, tuple(each.der for each in path[1:-1]), path[-1].der, self.at)
        if isinstance(proven, _Refusal):
            self._fail(len(path), path, proven)
            return None
        by_der = {each.der: each for each in path}
        chain = tuple(by_der[der] for der in proven)
        for each in chain:
            if each.ends <= self.at:  # OpenSSL before 4.0 ends a validity a second earlier, and consumers use that
                self._fail(len(path), chain, _Refusal(_EXPIRED, "", each.der))
                return None
        stop = _not_allowed(chain, issuer=self.issuer)
        if stop is None:
            return chain
        self.failures.append((len(path) + 1, _refuses(stop)))
        return None

    def _fail(self, height: int, path: Sequence[Parts], refusal: _Refusal) -> None:
        guilty = next((each for each in path if each.der == refusal.der), path[0])
        if refusal.code in _NO_ISSUER or refusal.code in _BAD_SIGNATURES:
            return  # another certificate with the issuer's name
        self.failures.append((height, _words(guilty, refusal)))

    def reason(self, target: Parts) -> UnprovenError:
        """Why the try that got furthest failed."""
        if not self.failures:
            return UnprovenError(f"certificate {target.name} is not issued by a trusted CA", _LOOK, "stranger")
        furthest = max(height for height, _ in self.failures)
        return min((each for height, each in self.failures if height == furthest), key=str)


def _gate(der: bytes, accept: Collection[str], *, anchor: bool) -> Parts | UnprovenError:
    """What is known about a certificate before any arithmetic; or why it is not used."""
    parts = read_parts(der)
    if parts is None:
        return UnprovenError("a certificate cannot be read", _LOOK, "other")
    if weak := _weak_key(parts, _ANCHOR_BITS if anchor else _RSA_BITS):
        return UnprovenError(f"certificate {parts.name} has {weak}", _LOOK, "other")
    if anchor or parts.digest in _STRONG or parts.digest in accept:
        return parts
    if parts.digest in {"sha1", "md5"}:
        hint = f"if this CA supports nothing better, add `{parts.digest}` to the authority's `accept`"
        return UnprovenError(f"certificate {parts.name} is signed with {parts.digest}", hint, "digest")
    hint = "certagent knows RSA and ECDSA with SHA-2 or SHA-3, EdDSA and ML-DSA; ask the CA's operator"
    return UnprovenError(
        f"certificate {parts.name} has a signature of a kind that certagent does not know", hint, "digest"
    )


def _weak_key(parts: Parts, bits: range) -> str:
    """What is wrong with a key, in words; empty if nothing."""
    if parts.key_kind != "rsa":
        if parts.key_kind in _ONLY_RECEIVE:
            return f"a key that can receive secrets but not sign ({parts.key_kind}), which no part of SCEP can use"
        known = parts.key_kind in _OTHER_KEYS or parts.key_kind.startswith("brainpool")
        return "" if known else f"a key of an unknown kind ({parts.key_kind})"
    if parts.key_bits not in bits:
        return f"an RSA key of {parts.key_bits} bits"
    return "" if parts.exponent in _EXPONENTS else "an RSA key with an absurd exponent"


def _not_allowed(chain: Sequence[Parts], *, issuer: bool) -> Parts | None:
    """The first certificate of a path that is not a CA, or does not allow what is below it (RFC 5280 §6.1.4 k to n).

    OpenSSL has checked all but two things: that a CA says so in its basicConstraints (only a v1 root that somebody
    configured need not), and that the path length allows a certificate below a target that is to issue.
    """
    for number, each in enumerate(chain):
        if number == 0 and not issuer:
            continue
        anchor = number == len(chain) - 1
        below = sum(one.subject != one.issuer for one in chain[0 if issuer else 1 : number])
        room = each.path_length is None or below <= each.path_length
        if not _may_issue(each, anchor=anchor) or not room:
            return each
    return None


def _may_issue(parts: Parts, *, anchor: bool) -> bool:
    return bool(parts.ca or (anchor and parts.is_old_root)) and parts.may_sign


def _refuses(parts: Parts) -> UnprovenError:
    if not parts.ca and not parts.is_old_root:
        return UnprovenError(f"{parts.name} is not a CA certificate", _LOOK, "not allowed")
    hint = "nothing was installed; ask the CA's operator to check its key usage and path length"
    return UnprovenError(
        f"the CA certificate {parts.name} does not allow the certificates issued below it", hint, "not allowed"
    )


def _words(guilty: Parts, refusal: _Refusal) -> UnprovenError:
    who = f"the CA certificate {guilty.name}" if guilty.ca or guilty.is_old_root else f"certificate {guilty.name}"
    if refusal.code == _EXPIRED:
        return UnprovenError(f"{who} expired at {guilty.ends:%F %T} UTC", "is the clock right?", "expired")
    if refusal.code == _NOT_YET:
        text = f"{who} is not valid before {guilty.begins:%F %T} UTC"
        return UnprovenError(text, "is the clock right?", "early")
    if refusal.code in _NOT_ALLOWED:
        return _refuses(guilty)
    return UnprovenError(f"{who}: {refusal.words}", _LOOK, "other")


class _Refusal(Struct, frozen=True):
    """A refusal by OpenSSL: its number, its words, and the certificate where it stopped."""

    code: int
    words: str
    der: bytes


@lru_cache(maxsize=2048)
def _verify(target: bytes, between: tuple[bytes, ...], anchor: bytes, at: datetime) -> tuple[bytes, ...] | _Refusal:
    """The only call of OpenSSL: the path of exactly these certificates at the moment `at` (UTC), or the refusal."""
    try:
        store = crypto.X509Store()
        store.add_cert(_loaded(anchor))
        store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
        store.set_time(at.replace(tzinfo=None))  # pyOpenSSL takes the fields of a naive time as UTC
        context = crypto.X509StoreContext(store, _loaded(target), [_loaded(each) for each in between])
        return tuple(crypto.dump_certificate(crypto.FILETYPE_ASN1, each) for each in context.get_verified_chain())
    except crypto.X509StoreContextError as error:
        code, _, words = error.errors
        return _Refusal(code, words, crypto.dump_certificate(crypto.FILETYPE_ASN1, error.certificate))
    except crypto.Error:
        return _Refusal(0, "OpenSSL cannot read it", target)


@lru_cache(maxsize=256)
def _loaded(der: bytes) -> crypto.X509:
    return crypto.load_certificate(crypto.FILETYPE_ASN1, der)
