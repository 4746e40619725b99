"""PKCS#12 files: key, certificate and chain in one file, as Java and others read them.

The file may hold more: other keys, certificates that Java trusts, secret keys. certagent keeps them byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property, lru_cache
from pathlib import Path

from cryptography import x509

from certagent import durable, keys
from certagent.certificate import in_order, is_self_signed, to_pem
from certagent.config.file_roles import FileRole
from certagent.config.key_types import KeyType
from certagent.config.keystores import Pkcs12Keystore
from certagent.directories import Look
from certagent.errors import ConfigError, HookError, KeystoreError
from certagent.keys import PrivateKey
from certagent.keystore import pkcs12_codec
from certagent.keystore.base import Identity, Shadow, fits
from certagent.keystore.file_keystore import FileKeystore, Found, ReadSecret
from certagent.keystore.files import explained, read_own
from certagent.keystore.pkcs12_codec import Bag, Kind

Certificates = tuple[x509.Certificate, ...]


class Pkcs12File(FileKeystore[Pkcs12Keystore]):
    """The driver for `type: pkcs12`.

    The key of a shadow is `shadow/ID.p12` under the keystore's state directory: a separate PKCS#12 file with the same
    password.
    """

    _older_shadow = "shadow.p12"

    def __init__(
        self, name: str, definition: Pkcs12Keystore, *, directory: Path, live: Path, read_secret: ReadSecret
    ) -> None:
        super().__init__(name, definition, directory=directory, live=live, read_secret=read_secret)
        self._file = Path(definition.file)
        # A walk looks at one file a dozen times; deriving the key each time would be slow on a router.
        self._load = lru_cache(maxsize=4)(pkcs12_codec.load)
        self._private_key = lru_cache(maxsize=4)(pkcs12_codec.private_key)

    def read_certificate(self) -> x509.Certificate | None:
        """Certificates are encrypted like the key, so unlike other drivers this one reads the password."""
        identity = self.read()
        return identity.certificate if identity else None

    def watched(self) -> tuple[Path, ...]:
        # A corrected password is reason to look again at once.
        file = self._definition.password.file
        return (*super().watched(), *([Path(file)] if file else []))

    def create_shadow(self, shadow_id: str, key_type: KeyType | None) -> Shadow:
        file = self._shadow_file(shadow_id)
        content = read_own(file)
        if content is None:
            key = self._key_in_place() if key_type is None else keys.generate(key_type)
            content = pkcs12_codec.dump(pkcs12_codec.entry(key, (), self.name, self._password), self._password)
            with explained(f"write the new key to {file}"):
                durable.make_directory(file.parent)
                durable.write(file, content)
        return self._shadow(shadow_id, file, content)

    def check_targets(self) -> None:
        super().check_targets()
        self._key_bag(self._bags(self._file, self._content(self._file)), self._file)  # the other entries are kept

    def _keeps(self, found: Found) -> frozenset[FileRole]:
        return frozenset({FileRole.PKCS12})

    def _contents(
        self, shadow: Shadow, certificate: x509.Certificate, trusted: Certificates, found: Found
    ) -> dict[FileRole, bytes]:
        file = self._replaced(found[FileRole.PKCS12], shadow.key, certificate, shadow.chain)
        return {FileRole.PKCS12: file, FileRole.CA: to_pem(trusted)}

    def _check_contents(self, contents: Mapping[FileRole, bytes], certificate: x509.Certificate) -> None:
        """Check that OpenSSL opens the file too, unless other entries already kept it from opening the old one."""
        if not pkcs12_codec.opens(contents[FileRole.PKCS12], self._password, certificate):
            there = self._content(self._file)
            if there is None or pkcs12_codec.opens(there, self._password):
                hint = (
                    "nothing was replaced; please report this, with the output of `openssl pkcs12 -info` "
                    "for the file in place"
                )
                raise KeystoreError(f"OpenSSL cannot open the new content for {self._file}", hint)

    def _holds_key(self, content: bytes) -> bool:
        bags = self._load(content, self._password, str(self._file)) if content else ()
        return any(bag.kind is Kind.KEY for bag in bags)

    def _replaced(
        self, there: Look | None, key: PrivateKey, certificate: x509.Certificate, chain: Certificates
    ) -> bytes:
        """The file with the new identity in place of the old one, and everything else unchanged."""
        bags = self._bags(self._file, there.content if there else None)
        old = self._key_bag(bags, self._file)
        kept = [bag for bag in bags if bag not in self._own(bags, old)]
        name = self._definition.friendly_name or (old.name if old else "") or self.name
        others = _certificates(kept)
        # A root proves nothing to a peer that lacks it, and a peer that has it does not need it sent.
        above = [each for each in chain if not is_self_signed(each) and each not in others]
        return pkcs12_codec.dump(
            [*pkcs12_codec.entry(key, (certificate, *above), name, self._password), *kept], self._password
        )

    def _own(self, bags: tuple[Bag, ...], key_bag: Bag | None) -> list[Bag]:
        """The bags that go with the old identity: key, certificate, and the chain certificates no other entry needs."""
        if key_bag is None:
            return []
        leaf = self._leaf(bags, key_bag, self._file)
        certificates = _certificates(bags)
        own = in_order(leaf, certificates) if leaf else ()
        needed = {above for each in certificates if each != leaf and each not in own for above in in_order(each, own)}
        return [
            bag
            for bag in bags
            if bag == key_bag
            or (bag.kind is Kind.CERTIFICATE and bag.certificate == leaf)
            or (bag.kind is Kind.CERTIFICATE and bag.local_id and bag.local_id == key_bag.local_id)
            or (bag.kind is Kind.CERTIFICATE and bag.certificate in own and bag.certificate not in needed)
        ]

    def _bags(self, file: Path, content: bytes | None) -> tuple[Bag, ...]:
        return () if content is None else self._load(content, self._password, str(file))

    def _identity(self, paths: Mapping[FileRole, Path]) -> Identity | None:
        file = paths[FileRole.PKCS12]
        bags = self._bags(file, self._content(file))
        key_bag = self._key_bag(bags, file)
        certificates = _certificates(bags)
        if key_bag is None or not certificates:
            return None
        leaf = self._leaf(bags, key_bag, file)
        if leaf is None:
            hint = "put the matching key or certificate back, or make a new pair with "
            hint += f"`certagent enroll --force {self.name}`"
            raise KeystoreError(f"no certificate in {file} matches the private key in it", hint)
        key = self._private_key(key_bag, self._password, str(file))
        return Identity(key, leaf, in_order(leaf, certificates))

    def _leaf(self, bags: tuple[Bag, ...], key_bag: Bag, file: Path) -> x509.Certificate | None:
        """The certificate of a key; if there are several, the one that the file itself links to the key."""
        key = self._private_key(key_bag, self._password, str(file))
        by_id = sorted(bags, key=lambda bag: bag.local_id != key_bag.local_id)
        return next((each for each in _certificates(by_id) if fits(key, each)), None)

    def _key_bag(self, bags: tuple[Bag, ...], file: Path) -> Bag | None:
        found = [bag for bag in bags if bag.kind is Kind.KEY]
        name = self._definition.friendly_name
        if name is not None:
            # Java compares aliases in lower case.
            return next((bag for bag in found if bag.name.casefold() == name.casefold()), None)
        if len(found) > 1:
            names = ", ".join(sorted(bag.name for bag in found))
            raise KeystoreError(f"{file} holds {len(found)} private keys", f"set friendly_name to one of: {names}")
        return found[0] if found else None

    def _shadow(self, shadow_id: str, file: Path, content: bytes) -> Shadow:
        bags = self._bags(file, content)
        key_bag = next((bag for bag in bags if bag.kind is Kind.KEY), None)
        if key_bag is None:
            raise KeystoreError(f"the shadow's key {file} is gone", "start the renewal again")
        key = self._private_key(key_bag, self._password, str(file))
        found = [bag.certificate for bag in bags if bag.certificate]
        return Shadow(shadow_id, key, found[0] if found else None, tuple(found[1:]))

    @cached_property
    def _password(self) -> bytes:
        """Fetched once: its command may ask a person. Without it, the file cannot be read. Raises KeystoreError."""
        try:
            password = self._read_secret(self._definition.password)
        except (ConfigError, HookError) as error:
            raise KeystoreError(f"the password of {self.name} cannot be read: {error}", error.hint) from None
        try:
            if password.decode().strip("\0"):
                return password
        except UnicodeDecodeError:
            pass
        raise KeystoreError(f"the password of {self.name} is not text", "use a non-empty password in UTF-8")


def _certificates(bags: Iterable[Bag]) -> Certificates:
    """The certificates that may belong to an identity, so not those that Java trusts."""
    return tuple(bag.certificate for bag in bags if bag.kind is Kind.CERTIFICATE and bag.certificate)
