"""PEM files: key, certificate, chain and CA files as nginx, HAProxy, strongSwan and others read them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, lru_cache
from pathlib import Path

from cryptography import x509

from certagent import durable, keys, pem_blocks
from certagent.certificate import load_pem, to_pem
from certagent.config.file_roles import FileRole
from certagent.config.key_types import KeyType
from certagent.config.keystores import PemKeystore
from certagent.errors import KeystoreError
from certagent.keys import PrivateKey
from certagent.keystore.base import Identity, Shadow
from certagent.keystore.certificate_files import (
    Certificates,
    certificates_in,
    changed_files,
    identity_of,
    issuers_of,
    leaf_of,
    pem_files,
)
from certagent.keystore.file_keystore import FileKeystore, Found
from certagent.keystore.files import explained, read_own
from certagent.pem_blocks import KeyFormat

_TOO_LONG = 1024  # bytes of a passphrase, for OpenSSL


class PemFiles(FileKeystore[PemKeystore]):
    """The driver for `type: pem`.

    The key of a shadow is `shadow/ID.pem` under the keystore's state directory, encrypted if key_passphrase is
    configured.
    """

    _older_shadow = "key.pem"

    def read_certificate(self) -> x509.Certificate | None:
        found = self._certificates(self._paths.get(FileRole.CERTIFICATE, self._paths[FileRole.KEY]))
        return None if found is None else leaf_of(found)

    def create_shadow(self, shadow_id: str, key_type: KeyType | None) -> Shadow:
        file = self._shadow_file(shadow_id)
        content = read_own(file)
        if content is None:
            content = self._key_pem(self._key_in_place() if key_type is None else keys.generate(key_type))
            with explained(f"write the new key to {file}"):
                durable.make_directory(file.parent)
                durable.write(file, content)
        return self._completed(Shadow(shadow_id, self._loaded(content, str(file))), file)

    def check_key(self) -> None:
        if b"ENCRYPTED" not in (self._content(self._paths[FileRole.KEY]) or b""):
            self.read()

    def check_targets(self) -> None:
        super().check_targets()
        secret = self._definition.key_passphrase
        if secret is not None and secret.command is None and not 0 < len(self._passphrase or b"") < _TOO_LONG:
            raise self._unfit_passphrase()

    def _identity(self, paths: Mapping[FileRole, Path]) -> Identity | None:
        key_file = paths[FileRole.KEY]
        certificate_file = paths.get(FileRole.CERTIFICATE, key_file)
        certificates = self._certificates(certificate_file)
        if certificates is None:
            return None
        key = self._key(key_file)
        if key is None:
            hint = f"put the key back, or make a new pair with `certagent enroll --force {self.name}`"
            raise KeystoreError(f"{certificate_file} has no private key: {key_file} does not exist", hint)
        return identity_of(key, key_file, certificates, paths, self._content)

    def _certificates(self, path: Path) -> Certificates | None:
        """The certificates in the certificate file; None if it is missing, or a combined file with a key only."""
        content = self._content(path)
        is_key = content is not None and b"PRIVATE KEY-----" in content and b"BEGIN CERTIFICATE-----" not in content
        if content is None or (self._definition.combined and is_key):
            return None
        found = certificates_in(path, content) or ()
        others = _of_other_keys(content) if self._definition.combined else ()
        # If all of them are of other keys, the first key has none: `identity_of` says so.
        return tuple(each for each in found if each not in others) or found

    def _key(self, path: Path) -> PrivateKey | None:
        content = self._content(path)
        return None if content is None else self._loaded(content, str(path))

    def _loaded(self, content: bytes, where: str) -> PrivateKey:
        """The key in the content of a file. Raises KeystoreError."""
        passphrase = self._passphrase if b"ENCRYPTED" in content else None
        try:
            return _load_once(pem_blocks.key_block(content) or b"", passphrase)
        except KeystoreError:
            return keys.load_private(content, passphrase, where)  # the error names the file

    @cached_property
    def _passphrase(self) -> bytes | None:
        """Fetched once: its command may ask a person."""
        secret = self._definition.key_passphrase
        return self._read_secret(secret) if secret else None

    def _key_pem(self, key: PrivateKey, form: KeyFormat = "pkcs8") -> bytes:
        try:
            return keys.to_pem(key, self._passphrase, form)
        except ValueError:  # empty, or longer than OpenSSL takes; the error must not quote it
            raise self._unfit_passphrase() from None

    def _unfit_passphrase(self) -> KeystoreError:
        hint = f"use a passphrase of 1 to {_TOO_LONG - 1} bytes"
        return KeystoreError(f"the key_passphrase of {self.name} is empty or too long", hint)

    def _contents(
        self, shadow: Shadow, certificate: x509.Certificate, trusted: Certificates, found: Found
    ) -> dict[FileRole, bytes]:
        contents = pem_files(shadow.chain, certificate, trusted, self._definition.certificate_format)
        key = self._key_pem(shadow.key, self._key_format(found, shadow.key))
        # Combined: certificates first; OpenSSL's readers, nginx, HAProxy, stunnel and lighttpd all accept that.
        contents[FileRole.KEY] = contents[FileRole.CERTIFICATE] + key if self._definition.combined else key
        return {role: content + self._others(role, found) for role, content in contents.items()}

    def _changed(self, trusted: Certificates, found: Found) -> dict[FileRole, bytes]:
        identity = self._identity(self._paths)
        if identity is None:
            return {}
        certificate = identity.certificate
        above = issuers_of(certificate, identity.chain, trusted)
        contents = self._contents(Shadow("", identity.key, certificate, above), certificate, trusted, found)
        changed = changed_files(contents, found)
        key = found[FileRole.KEY]
        if key is not None and pem_blocks.key_format(key.content) != self._key_format(found, identity.key):
            changed.add(FileRole.KEY)
        return {role: contents[role] for role in changed if contents.get(role)}

    def _key_format(self, found: Found, key: PrivateKey) -> KeyFormat:
        if not keys.has_pkcs1(key):
            return "pkcs8"
        in_place = found.get(FileRole.KEY)
        return self._definition.key_format or (in_place and pem_blocks.key_format(in_place.content)) or "pkcs8"

    def _others(self, role: FileRole, found: Found) -> bytes:
        """The part of a file that is not certagent's and stays in it. The CA files are certagent's alone."""
        look = found.get(role)
        ours = role in (FileRole.CHAIN, FileRole.CA)
        if ours or look is None:
            return b""
        return pem_blocks.other_blocks(look.content) + to_pem(_of_other_keys(look.content))

    def _keeps(self, found: Found) -> frozenset[FileRole]:
        return frozenset(role for role in found if self._others(role, found))

    def _check_contents(self, contents: Mapping[FileRole, bytes], certificate: x509.Certificate) -> None:
        key_file = self._definition.key_file
        self._prove(self._loaded(contents[FileRole.KEY], key_file), certificate, key_file)


@lru_cache(maxsize=4)  # that in place and its shadow's
def _load_once(text: bytes, passphrase: bytes | None) -> PrivateKey:
    """The key in a PEM block. The first signature of an RSA key that was just loaded takes as long as two others."""
    return keys.load_private(text, passphrase, "it")


def _of_other_keys(content: bytes) -> Certificates:
    """The certificates of any further private keys in a file: another pair, which belongs to somebody else."""
    blocks = pem_blocks.other_keys(content)
    if not blocks:  # nearly always
        return ()
    mine = _public_key(pem_blocks.key_block(content) or b"")
    others = {_public_key(block) for block in blocks} - {mine, None}
    return tuple(each for each in load_pem(content, "") if keys.public_bytes(each.public_key()) in others)


def _public_key(block: bytes) -> bytes | None:
    """The public key of a private one; None if that is encrypted, or of an unknown kind."""
    try:
        return keys.public_bytes(keys.load_private(block, None, "").public_key())
    except KeystoreError:
        return None
