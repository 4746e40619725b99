"""PKCS#11 tokens: the key is made in the token and stays there; a file outside says which key consumers use.

The library that talks to tokens is loaded when a token is needed first: the files alone can be read without it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509

from certagent import durable
from certagent.config.file_roles import FileRole
from certagent.config.key_types import KeyType
from certagent.config.keystores import Pkcs11Keystore
from certagent.config.parts import Secret
from certagent.directories import Look
from certagent.errors import KeystoreError
from certagent.installed import lacking
from certagent.keys import PrivateKey
from certagent.keystore import swap_plan
from certagent.keystore.base import Identity, Remark, Shadow, fits
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
from certagent.keystore.token.own_keys import OwnKeys
from certagent.keystore.token.pointer import key_id_in, key_id_of, read_uri
from certagent.keystore.token.snippet import fill_in
from certagent.keystore.token.stanza import stanza
from certagent.keystore.token.uri import TokenUri
from certagent.state_directory import KeystoreDirectory

if TYPE_CHECKING:
    from certagent.keystore.token.own_objects import OwnObjects
    from certagent.keystore.token.session import Token


class Pkcs11Token(FileKeystore[Pkcs11Keystore]):
    """The driver for `type: pkcs11`.

    A shadow is a key pair in the token, named by `shadow/ID.uri` in the keystore's state directory. Activation
    replaces `uri_file` and the certificate; it changes nothing in the token that consumers use. `tidy` destroys what
    has been out of use for `retire_after`.
    """

    _older_shadow = "key.uri"

    def __init__(
        self,
        name: str,
        definition: Pkcs11Keystore,
        *,
        directory: Path,
        live: Path,
        read_secret: Callable[[Secret], bytes],
    ) -> None:
        super().__init__(name, definition, directory=directory, live=live, read_secret=read_secret)
        # If consumers get no certificate file, the certificate is kept here, so `status` reads it without a PIN.
        place = KeystoreDirectory(directory)
        self._paths = {FileRole.CERTIFICATE: place.certificate, **definition.paths}
        self._label = definition.label or f"certagent {name}"
        self._place = place

    @cached_property
    def _token(self) -> Token:
        """Raises KeystoreError if python-pkcs11 is not installed."""
        try:
            from certagent.keystore.token.session import Token  # noqa: PLC0415 -- see above
        except ModuleNotFoundError as error:
            if (lack := lacking(error.name or "")) is None:
                raise
            raise KeystoreError(*lack) from None
        wanted = self._definition
        return Token(wanted.module, wanted.token, lambda: self._read_secret(wanted.pin), self._place.state_directory)

    @cached_property
    def _own(self) -> OwnObjects:
        token = self._token
        from certagent.keystore.token.own_objects import OwnObjects  # noqa: PLC0415 -- see above

        return OwnObjects(token, OwnKeys(self._place.own_keys), self._label)

    def _load(self, key_id: bytes) -> PrivateKey | None:
        """The private key with this ID; None if the token has none."""
        token = self._token
        from certagent.keystore.token.keys import load  # noqa: PLC0415 -- see above

        return load(token, key_id)

    def read_certificate(self) -> x509.Certificate | None:
        found = self._certificates(self._paths[FileRole.CERTIFICATE])
        return None if found is None else leaf_of(found)

    def look(self) -> x509.Certificate | None:
        # Each login rewrites SoftHSM's token file, and could be the one that locks the PIN.
        # So this only checks that the token is present; callers that need the key call read().
        certificate, pointer = self.read_certificate(), self._paths[FileRole.URI]
        content = self._content(pointer)
        if certificate is not None and not (content and self._token.is_named_by(read_uri(pointer, content))):
            self.read()  # it raises the right error
        return certificate

    def create_shadow(self, shadow_id: str, key_type: KeyType | None) -> Shadow:
        file = self._shadow_file(shadow_id)
        content = read_own(file)
        if content is None:
            if key_type is None:
                self._key_in_place()  # raises an error if there is none
                key_id = self._key_id(self._paths[FileRole.URI])
            else:
                key_id = _new_id(shadow_id)
                self._own.make_key(key_id.hex(), key_type)
            content = f"{TokenUri(self._token.uri.token, key_id)}\n".encode()
            with explained(f"write {file}"):
                durable.make_directory(file.parent)
                durable.write(file, content)
        key = self._load(key_id_of(read_uri(file, content), file))
        if key is None:
            raise KeystoreError(f"the shadow's key {shadow_id} is gone from {self._token}", "start the renewal again")
        return self._completed(Shadow(shadow_id, key), file)

    def complete_shadow(
        self, shadow: Shadow, certificate: x509.Certificate, chain: Certificates, *, tried: bool = False
    ) -> Shadow:
        complete = super().complete_shadow(shadow, certificate, chain, tried=tried)
        key_id = _new_id(shadow.id).hex()
        if key_id in self._own.ids():  # otherwise the key in place is kept, with its old certificate
            self._put_certificate(key_id, certificate)
        return complete

    def previous_certificate(self) -> x509.Certificate | None:
        found = self._certificates(self._kept(FileRole.CERTIFICATE))
        return None if found is None else leaf_of(found)

    def plan_rollback(self, rollback_id: str) -> swap_plan.Plan | None:
        key_id = self._key_id(self._kept(FileRole.URI))
        if not key_id or self._load(key_id) is None:  # the old key has been destroyed meanwhile
            return None
        return super().plan_rollback(rollback_id)

    def sweep_shadows(self, keep: Collection[str]) -> None:
        in_use = self._in_use()
        if in_use is None:
            return
        self._own.sweep(in_use, {_new_id(shadow_id).hex() for shadow_id in keep})
        super().sweep_shadows(keep)

    def tidy(self, now: datetime) -> list[str]:
        own, in_use = self._own.ids(), self._in_use()
        if not own or in_use is None or not in_use[0]:
            return []
        active, previous = in_use
        over = self._own.retire(active, now, self._definition.retire_after)
        if previous in over:
            with explained(f"remove {self._previous}"):
                durable.remove(self._previous)
        self._own.destroy(over)
        if self._definition.rekey == "never" and active in own and (certificate := self.read_certificate()):
            self._put_certificate(active, certificate)
        return [f"the old key {key_id} was destroyed in {self._token}" for key_id in over]

    def watched(self) -> tuple[Path, ...]:
        # A corrected PIN or template is reason to look again at once.
        pin_file, snippet = self._definition.pin.file, self._definition.snippet
        others = (pin_file, snippet.template if snippet else None)
        return (*super().watched(), *(Path(each) for each in others if each))

    def remarks(self) -> list[Remark]:
        own_keys = {bytes.fromhex(key_id) for key_id in self._own.ids()}
        from certagent.keystore.token.remarks import remarks_on  # noqa: PLC0415 -- see above

        return remarks_on(self._token, self._key_id(self._paths[FileRole.URI]), self._label, own_keys)

    def _identity(self, paths: Mapping[FileRole, Path]) -> Identity | None:
        certificate_file, uri_file = paths[FileRole.CERTIFICATE], paths[FileRole.URI]
        certificates = self._certificates(certificate_file)
        if certificates is None:
            return None
        content = self._content(uri_file)
        if content is None:
            hint = "put it back, or make a new key with `certagent enroll --force`"
            raise KeystoreError(f"{certificate_file} has no key: {uri_file} does not exist", hint)
        uri = read_uri(uri_file, content)
        key = self._load(key_id_of(uri, uri_file)) if self._token.is_named_by(uri) else None
        if key is None:
            hint = (
                "was the token moved, exchanged or initialised again? bring it back, or make a new key "
                "with `certagent enroll --force`"
            )
            raise KeystoreError(f"{self._token} does not hold the key that {uri_file} names", hint)
        return identity_of(key, uri_file, certificates, paths, self._content)

    def check_targets(self) -> None:
        super().check_targets()
        self._snippet(TokenUri(()))

    def _contents(
        self, shadow: Shadow, certificate: x509.Certificate, trusted: Certificates, found: Found
    ) -> dict[FileRole, bytes]:
        file = self._shadow_file(shadow.id)
        return self._files(read_uri(file, read_own(file)), shadow.chain, certificate, trusted)

    def _files(
        self, uri: TokenUri, chain: Certificates, certificate: x509.Certificate, trusted: Certificates
    ) -> dict[FileRole, bytes]:
        contents = pem_files(chain, certificate, trusted, self._definition.certificate_format)
        contents[FileRole.URI] = f"{uri}\n".encode()
        contents[FileRole.KEY] = stanza(uri)
        if self._definition.combined:  # certificates first, as in PEM files
            contents[FileRole.CERTIFICATE] += contents[FileRole.KEY]
        contents[FileRole.SNIPPET] = self._snippet(uri)
        return {role: content for role, content in contents.items() if content or role is not FileRole.SNIPPET}

    def _snippet(self, uri: TokenUri) -> bytes:
        """The snippet; empty if none is configured. Raises ConfigError for a template that cannot be filled in."""
        if not (snippet := self._definition.snippet):
            return b""
        values = {
            "uri": str(uri),
            "id": (uri.id or b"").hex(),
            "label": self._label,
            "module": self._definition.module,
            **{f"{role}_file": str(path) for role, path in self._paths.items()},
            **({"ca_directory": self._definition.ca_directory} if self._definition.ca_directory else {}),
        }
        return fill_in(Path(snippet.template), values)

    def _changed(self, trusted: Certificates, found: Found) -> dict[FileRole, bytes]:
        certificates, pointer = self._certificates(self._paths[FileRole.CERTIFICATE]), found[FileRole.URI]
        if certificates is None or pointer is None:
            return {}
        leaf, uri = leaf_of(certificates), read_uri(self._paths[FileRole.URI], pointer.content)
        above = issuers_of(leaf, tuple(each for each in certificates if each != leaf), trusted)
        contents = self._files(uri, above, leaf, trusted)
        changed = changed_files(contents, found)
        pointers = {FileRole.SNIPPET, FileRole.KEY} & set(contents) & set(self._paths)
        changed |= {role for role in pointers if _differs(found.get(role), contents[role])}
        in_place = found[FileRole.CERTIFICATE]
        if self._definition.combined and in_place and contents[FileRole.KEY] not in in_place.content:
            changed.add(FileRole.CERTIFICATE)
        return {role: contents[role] for role in changed if contents.get(role)}

    def _lost(self) -> dict[FileRole, bytes]:
        """`key_file` can be written again from `uri_file`, and `uri_file` if the certificate is for a key made here."""
        pointer, key_file = self._paths[FileRole.URI], self._paths.get(FileRole.KEY)
        if (content := self._content(pointer)) is not None:
            is_lost = key_file is not None and self._content(key_file) is None
            return {FileRole.KEY: stanza(read_uri(pointer, content))} if is_lost else {}
        if (certificate := self.read_certificate()) is None:
            return {}
        for key_id in sorted(self._own.ids()):
            key = self._load(bytes.fromhex(key_id))
            if key is not None and fits(key, certificate):
                return {FileRole.URI: f"{TokenUri(self._token.uri.token, bytes.fromhex(key_id))}\n".encode()}
        return {}

    def _key_place(self, shadow_id: str) -> str:
        return str(self._token)

    def _in_use(self) -> tuple[str, str] | None:
        """The IDs of the keys that uri_file and previous/ name, in hex; empty for a file that is missing.

        None if one of them cannot be read, because then nobody knows what consumers use.
        """
        try:
            return self._key_id(self._paths[FileRole.URI]).hex(), self._key_id(self._kept(FileRole.URI)).hex()
        except KeystoreError:
            return None

    def _certificates(self, path: Path) -> Certificates | None:
        return certificates_in(path, self._content(path))

    def _key_id(self, path: Path) -> bytes:
        """The ID of the key that this file names; empty if there is no such file."""
        return key_id_in(path, self._content(path))

    def _put_certificate(self, key_id: str, certificate: x509.Certificate) -> None:
        if self._definition.certificate_object:
            self._own.put_certificate(key_id, certificate)


def _differs(look: Look | None, wanted: bytes) -> bool:
    return look is None or look.content != wanted


def _new_id(shadow_id: str) -> bytes:
    """The CKA_ID of a shadow's key: sixteen bytes, as random as the shadow's id."""
    return hashlib.sha256(shadow_id.encode()).digest()[:16]
