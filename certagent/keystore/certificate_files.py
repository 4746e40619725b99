"""Files of certificates as consumers read them: what they hold now, and what to write into them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from cryptography import x509

from certagent import forms
from certagent.certificate import is_self_signed, load_pem, to_pem
from certagent.config.file_roles import FileRole
from certagent.directories import Look
from certagent.errors import KeystoreError
from certagent.keys import PrivateKey
from certagent.keystore.base import Identity, fits

Certificates = tuple[x509.Certificate, ...]


def certificates_in(path: Path, content: bytes | None) -> Certificates | None:
    """The certificates in a PEM file; None if it is missing. Raises KeystoreError if it holds none."""
    if content is None:
        return None
    found = load_pem(content, str(path))
    if not found:
        expected = (
            "expected a PEM block '-----BEGIN CERTIFICATE-----'; restore the file, or make a new "
            "pair with `certagent enroll --force NAME`"
        )
        what, hint = forms.told(content, str(path), otherwise=expected)
        raise KeystoreError(f"{path} holds no certificate{what}", hint)
    return found


def identity_of(
    key: PrivateKey,
    key_place: Path,
    certificates: Certificates,
    paths: Mapping[FileRole, Path],
    read: Callable[[Path], bytes | None],
) -> Identity:
    """The key, the certificate in `certificates` that matches it, and the chain: the other ones, or else chain_file's.

    `key_place` is the file that leads to the key, for the error. Raises KeystoreError if no certificate matches.
    """
    leaf = next((each for each in certificates if fits(key, each)), None)
    if leaf is None:
        certificate_file = paths.get(FileRole.CERTIFICATE, key_place)
        hint = f"put the matching {key_place.name} or certificate back, or make a new pair with "
        raise KeystoreError(
            f"the key in {key_place} does not match the certificate in {certificate_file}",
            f"{hint}`certagent enroll --force NAME`",
        )
    chain = tuple(each for each in certificates if each != leaf)
    if not chain and FileRole.CHAIN in paths:
        chain = load_pem(read(paths[FileRole.CHAIN]) or b"", str(paths[FileRole.CHAIN]))
    return Identity(key, leaf, chain)


def pem_files(
    chain: Certificates,
    certificate: x509.Certificate,
    trusted: Certificates,
    certificate_format: Literal["leaf", "fullchain"],
) -> dict[FileRole, bytes]:
    """What to write into the files of certificates that consumers read."""
    # A root proves nothing to a peer that lacks it, and a peer that has it does not need it sent.
    intermediates = tuple(each for each in chain if not is_self_signed(each))
    served = (certificate, *(intermediates if certificate_format == "fullchain" else ()))
    return {
        FileRole.CERTIFICATE: to_pem(served),
        FileRole.CHAIN: to_pem(issuers_of(certificate, chain, trusted)),
        FileRole.CA: to_pem(trusted),
    }


def issuers_of(certificate: x509.Certificate, chain: Certificates, trusted: Certificates) -> Certificates:
    """The chain. If the CA sent none, the issuer that we trust replaces it, because no reader accepts an empty file."""
    return chain or tuple(each for each in trusted if each.subject == certificate.issuer)


def changed_files(wanted: Mapping[FileRole, bytes], found: Mapping[FileRole, Look | None]) -> set[FileRole]:
    """The roles to write again: a missing chain_file, and files that hold a chain but should not, or the reverse."""
    changed = {FileRole.CHAIN} if FileRole.CHAIN in found and found[FileRole.CHAIN] is None else set()
    for role in (FileRole.KEY, FileRole.CERTIFICATE):
        look = found.get(role)
        if look is not None and role in wanted and _has_chain(look.content) != _has_chain(wanted[role]):
            changed.add(role)
    return changed


def _has_chain(content: bytes) -> bool:
    return len(load_pem(content, "")) > 1


def leaf_of(certificates: Certificates) -> x509.Certificate:
    """The first certificate that issued none of the others."""
    for each in certificates:
        if not any(other is not each and other.issuer == each.subject for other in certificates):
            return each
    return certificates[0]
