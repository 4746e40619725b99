"""PKCS#11 tokens: the key is made in the token and stays there; a pointer outside says which one consumers use."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from string import Template

from cryptography import x509

from certagent import durable
from certagent.certificate import is_self_signed, load_pem, to_pem
from certagent.config.keystores import Pkcs11Keystore
from certagent.config.parts import Secret
from certagent.config.values import KeyType
from certagent.errors import ConfigError, KeystoreError
from certagent.keystore import swap
from certagent.keystore.base import Identity, Remark, Shadow, prove_pair
from certagent.keystore.file_keystore import WritingKeystore, certificates_in, identity_of, leaf_of
from certagent.keystore.files import explained, read_file
from certagent.keystore.token import objects
from certagent.keystore.token.keys import load
from certagent.keystore.token.own_keys import Entry, Ledger
from certagent.keystore.token.session import Token
from certagent.keystore.token.uri import TokenUri

Certificates = tuple[x509.Certificate, ...]


class Pkcs11Token(WritingKeystore[Pkcs11Keystore]):
    """The driver for `type: pkcs11`.

    A shadow is a key pair in the token and `shadow/ID/{key.uri,certificate.pem,chain.pem}` in the keystore's state
    directory. Activation replaces `uri_file` and the certificate; in the token nothing
    that consumers use is changed. `tidy` destroys what has been out of use for `retire_after`.
    """

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
        # Without a file for consumers the certificate is kept here too: `status` reads it without a PIN.
        self._paths = {"certificate": directory / "certificate.pem", **definition.paths}
        self._ledger = Ledger(directory / "keys.json")
        self._label = definition.label or f"certagent {name}"
        tokens = directory.parent.parent / "tokens"
        self._token = Token(definition.module, definition.token, lambda: read_secret(definition.pin), tokens)

    def read(self) -> Identity | None:
        return self._identity(self._paths)

    def read_certificate(self) -> x509.Certificate | None:
        found = certificates_in(self._paths["certificate"])
        return None if found is None else leaf_of(found)

    def look(self) -> x509.Certificate | None:
        # Each login rewrites SoftHSM's token file, and may be the one that a PIN's counter does not forgive.
        # So it is seen that the token is there, and read() is left to those who need the key.
        certificate, pointer = self.read_certificate(), self._paths["uri"]
        if certificate is not None and not (pointer.exists() and self._token.is_named_by(self._uri(pointer))):
            self.read()  # has the words for it
        return certificate

    def create_shadow(self, shadow_id: str, key_type: KeyType | None) -> Shadow:
        directory = self._shadows / shadow_id
        if read_file(directory / "key.uri") is None:
            key_id = _new_id(shadow_id)
            if key_type is None:
                key_id = self._id_in_place()
            else:
                self._ledger.note(key_id.hex(), Entry())
                with self._making():
                    objects.generate(self._token, key_id, self._label, key_type)
            with explained(f"write {directory / 'key.uri'}"):
                durable.make_directory(directory)
                durable.write(directory / "key.uri", self._uri_text(key_id))
        return self._shadow(shadow_id)

    def complete_shadow(self, shadow_id: str, certificate: x509.Certificate, chain: Certificates) -> Shadow:
        directory = self._shadows / shadow_id
        shadow = self._shadow(shadow_id)
        prove_pair(shadow.key, certificate, str(self._token))
        key_id = _new_id(shadow_id)
        if (
            key_id.hex() in self._ledger.read()
        ):  # else the key in place is kept, and its certificate is still the old one
            self._put_certificate(key_id, certificate)
        with explained(f"write the new certificate to {directory}"):
            durable.write(directory / "chain.pem", to_pem(chain))
            durable.write(directory / "certificate.pem", to_pem([certificate]))
        return self._shadow(shadow_id)

    def plan_activation(self, shadow: Shadow, trusted: Certificates) -> swap.Plan:
        if shadow.certificate is None:
            raise KeystoreError(f"the shadow {shadow.id} of {self.name} has no certificate yet", "wait for the CA")
        prove_pair(shadow.key, shadow.certificate, str(self._token))
        uri = self._uri(self._shadows / shadow.id / "key.uri")
        return self._plan(shadow.id, self._contents(shadow, shadow.certificate, trusted, uri))

    def plan_rollback(self, rollback_id: str) -> swap.Plan | None:
        kept = {role: self._previous / swap.file_name(role) for role in self._paths}
        uri = self._uri(kept["uri"]) if kept["uri"].exists() else None
        if uri is None or load(self._token, _id(uri, kept["uri"])) is None or self._identity(kept) is None:
            return None
        contents = {role: read_file(path) for role, path in kept.items()}
        return self._plan(rollback_id, {role: content for role, content in contents.items() if content is not None})

    def sweep_shadows(self, keep: Collection[str]) -> None:
        pointed = self._pointed()
        if pointed is None:
            return
        for key_id, entry in self._ledger.read().items():
            if key_id in pointed and not entry.used:
                self._ledger.note(key_id, Entry(used=True))
        kept = {_new_id(shadow_id).hex() for shadow_id in keep}
        orphans = [key_id for key_id, entry in self._ledger.read().items() if not entry.used and key_id not in kept]
        self._destroy(orphans)
        if orphans and not keep:
            self._sweep_unfinished()
        super().sweep_shadows(keep)

    def tidy(self, now: datetime) -> list[str]:
        ledger, pointed = self._ledger.read(), self._pointed()
        if not ledger or not pointed or not pointed[0]:
            return []
        (active, previous), over = pointed, []
        for key_id, entry in ledger.items():
            if key_id == active:
                self._ledger.note(key_id, Entry(used=True))
            elif entry.used and (entry.retired_at is None or entry.retired_at > now):
                self._ledger.note(key_id, Entry(used=True, retired_at=now))
            elif entry.retired_at is not None and entry.retired_at + self._definition.retire_after <= now:
                over.append(key_id)
        if previous in over:
            with explained(f"remove {self._previous}"):
                durable.remove(self._previous)
        self._destroy(over)
        if self._definition.rekey == "never" and active in ledger and (certificate := self.read_certificate()):
            self._put_certificate(bytes.fromhex(active), certificate)
        return [f"the old key {key_id} was destroyed in {self._token}" for key_id in over]

    def watched(self) -> tuple[Path, ...]:
        # A PIN that was corrected is worth another look at once.
        pin_file = self._definition.pin.file
        return (*super().watched(), *([Path(pin_file)] if pin_file else []))

    def remarks(self) -> list[Remark]:
        remarks = []
        key_id = bytes.fromhex(self._id_of(self._paths["uri"]))
        if key_id and load(self._token, key_id) is not None:
            said = self._token.use("read attributes", lambda session: objects.proof(session, key_id))
            remarks.append(_proven(said, str(self._token)))
        known = {bytes.fromhex(each) for each in self._ledger.read()} | {key_id}
        labelled = self._token.use("look for labels", lambda session: objects.labelled(session, self._label))
        for stranger in sorted(labelled - known):
            what = f"objects labelled {self._label!r} with the ID {stranger.hex() or '(none)'}"
            hint = "another host's, or an earlier installation's: left alone; remove them if nobody uses them"
            remarks.append(Remark(f"{self._token} holds {what}, unknown on this host", hint))
        if self._token.use("look for unfinished objects", objects.unfinished):
            hint = "what a killed program left: swept with the next renewal, if it was ours"
            remarks.append(Remark(f"{self._token} holds unfinished objects", hint))
        return remarks

    def _identity(self, paths: Mapping[str, Path]) -> Identity | None:
        """The identity that these files, by role, lead to."""
        certificates = certificates_in(paths["certificate"])
        if certificates is None:
            return None
        if not paths["uri"].exists():
            hint = "put it back, or remove the certificate to have a new pair enrolled"
            raise KeystoreError(f"{paths['certificate']} has no key: {paths['uri']} does not exist", hint)
        uri = self._uri(paths["uri"])
        key = load(self._token, _id(uri, paths["uri"])) if self._token.is_named_by(uri) else None
        if key is None:
            hint = "was the token moved, exchanged or initialised anew? put it back, or `certagent enroll --force`"
            raise KeystoreError(f"{self._token} does not hold the key that {paths['uri']} names", hint)
        return identity_of(key, paths["uri"], certificates, paths)

    def _uri(self, path: Path) -> TokenUri:
        try:
            return TokenUri.parse((read_file(path) or b"").decode())
        except ValueError as error:
            raise KeystoreError(f"{path} holds no usable PKCS#11 URI: {error}", "write pkcs11:token=…;id=%…") from None

    def _uri_text(self, key_id: bytes) -> bytes:
        return f"{TokenUri(self._token.uri.token, key_id)}\n".encode()

    def _pointed(self) -> tuple[str, str] | None:
        """The IDs in uri_file and in previous/; None if one cannot be read: nobody knows then what consumers use."""
        try:
            return self._id_of(self._paths["uri"]), self._id_of(self._previous / swap.file_name("uri"))
        except KeystoreError:
            return None

    def _id_of(self, path: Path) -> str:
        """The ID in the URI of this file, in hex; empty without the file."""
        return _id(self._uri(path), path).hex() if path.exists() else ""

    def _id_in_place(self) -> bytes:
        super()._key_in_place()  # or it says that there is none
        return bytes.fromhex(self._id_of(self._paths["uri"]))

    def _shadow(self, shadow_id: str) -> Shadow:
        directory = self._shadows / shadow_id
        path = directory / "key.uri"
        key = load(self._token, _id(self._uri(path), path))
        if key is None:
            raise KeystoreError(f"the shadow's key {shadow_id} is gone from {self._token}", "start the renewal anew")
        certificates = certificates_in(directory / "certificate.pem")
        if certificates is None:
            return Shadow(shadow_id, key)
        chain = load_pem(read_file(directory / "chain.pem") or b"", str(directory / "chain.pem"))
        return Shadow(shadow_id, key, certificates[0], chain)

    def _put_certificate(self, key_id: bytes, certificate: x509.Certificate) -> None:
        if self._definition.certificate_object:
            with self._making():
                self._token.use(
                    "keep the certificate beside its key",
                    lambda session: objects.put_certificate(session, key_id, self._label, certificate),
                )

    @contextmanager
    def _making(self) -> Iterator[None]:
        """Around the making of objects: if it is cut short, what is left of it is swept later."""
        self._sweep_unfinished()
        self._ledger.mark(making=True)
        with self._token.alone():
            yield
        self._ledger.mark(making=False)

    def _sweep_unfinished(self) -> None:
        if self._ledger.making:
            with self._token.alone():
                objects.sweep_unfinished(self._token)
            self._ledger.mark(making=False)

    def _destroy(self, key_ids: Collection[str]) -> None:
        """Remove keys of our own."""
        if not key_ids:
            return
        with self._token.alone():
            for key_id in map(bytes.fromhex, key_ids):
                objects.destroy(self._token, key_id)
        self._ledger.strike_out(key_ids)

    def _contents(
        self, shadow: Shadow, certificate: x509.Certificate, trusted: Certificates, uri: TokenUri
    ) -> dict[str, bytes]:
        """What each file is to hold, by role."""
        # A root proves nothing to a peer who lacks it, and those who have it need not be sent it.
        intermediates = tuple(each for each in shadow.chain if not is_self_signed(each))
        served = (certificate, *(intermediates if self._definition.certificate_format == "fullchain" else ()))
        issuers = shadow.chain or tuple(each for each in trusted if each.subject == certificate.issuer)
        contents = {
            "uri": f"{uri}\n".encode(),
            "certificate": to_pem(served),
            "chain": to_pem(issuers),
            "ca": to_pem(trusted),
            "snippet": self._rendered(uri),
        }
        return {role: content for role, content in contents.items() if content and role in self._paths}

    def _rendered(self, uri: TokenUri) -> bytes:
        """The snippet's template filled in; empty without one."""
        snippet = self._definition.snippet
        if snippet is None:
            return b""
        values = {
            "uri": str(uri),
            "id": (uri.id or b"").hex(),
            "label": self._label,
            "module": self._definition.module,
            **{f"{role}_file": str(path) for role, path in self._paths.items()},
        }
        content = read_file(Path(snippet.template))
        if content is None:
            raise ConfigError(f"{snippet.template} does not exist", "it is the snippet's template")
        try:
            return Template(content.decode()).substitute(values).encode()
        except (KeyError, ValueError) as error:
            words = ", ".join(f"${word}" for word in values)
            raise ConfigError(
                f"{snippet.template} cannot be filled in: {error}", f"{words} are known; $$ is a $"
            ) from None


def _new_id(shadow_id: str) -> bytes:
    """The CKA_ID of a shadow's key: sixteen bytes, as random as the shadow's id."""
    return hashlib.sha256(shadow_id.encode()).digest()[:16]


def _id(uri: TokenUri, path: Path) -> bytes:
    if uri.id is None:
        raise KeystoreError(f"the URI in {path} names no key by its ID", "write id=%…: labels may be there twice")
    return uri.id


def _proven(said: Mapping[str, bool | None], token: str) -> Remark:
    """What the token says of the key: how it was made, and whether it ever could leave."""
    good = {"sensitive": True, "extractable": False, "always_sensitive": True, "never_extractable": True, "local": True}
    wrong = [word for word, wanted in good.items() if said[word] is not None and said[word] is not wanted]
    silent = [word for word in good if said[word] is None]
    words = ", ".join(
        word.replace("_", "-") for word in ("sensitive", "always_sensitive", "never_extractable", "local") if said[word]
    )
    if wrong:
        not_so = ", ".join(f"{word.replace('_', '-')} {said[word]}".lower() for word in wrong)
        return Remark(
            f"the key in {token} may have left it: {not_so}", "`certagent renew --force` makes one that stays"
        )
    unsaid = f"; it says nothing of {', '.join(silent)}".replace("_", "-") if silent else ""
    return Remark(f"the key was made in {token} and stays there: {words}{unsaid}")
