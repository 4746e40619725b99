"""What a keystore offers the layers above: read an identity, make a shadow, plan a swap.

The life of a shadow:

    create_shadow(id)                 makes the key, durable, invisible to the consumer; repeatable
    complete_shadow(shadow, …)        with the certificate, which the journal keeps; still invisible; repeatable
    plan_activation(shadow, …)        returns what to rename or link, as a value; writes nothing
    swap.stage / finish / undo        (keystore/swap.py) carry the plan out, under the journal
    sweep_shadows(keep)               after the switch, or when the transaction was given up
    tidy(now)                         while no transaction is open: removes what nobody reads any longer

`id` comes from the transaction, so a run that was killed finds its own shadow again and sweeps those of others.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from msgspec import Struct

from certagent import keys
from certagent.config.key_types import KeyType
from certagent.directories import Look
from certagent.errors import KeystoreError
from certagent.keys import PrivateKey
from certagent.keystore.swap_plan import Plan


class Identity(Struct, frozen=True):
    """A private key, its certificate, and the chain above it (the leaf excluded, possibly empty)."""

    key: PrivateKey
    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...] = ()


class Shadow(Struct, frozen=True):
    """The successor of an identity, before it is in place. `certificate` is None until the CA has issued it."""

    id: str
    key: PrivateKey
    certificate: x509.Certificate | None = None
    chain: tuple[x509.Certificate, ...] = ()


class Remark(Struct, frozen=True):
    """A fact about a keystore. If something may be wrong, `hint` says what to do about it."""

    message: str
    hint: str = ""


class Keystore(ABC):
    """One identity's home. Every method may raise KeystoreError; none leaves a partial change behind."""

    name: str

    @abstractmethod
    def read(self) -> Identity | None:
        """The identity in place; None if there is none yet (no certificate).

        Raises KeystoreError if key and certificate do not match, or one of them cannot be read.
        """

    @abstractmethod
    def read_certificate(self) -> x509.Certificate | None:
        """The certificate in place, without touching the key (no passphrase, no token)."""

    def look(self) -> x509.Certificate | None:
        """The certificate in place, checked against its key as far as that costs nothing.

        Called at every run, whether anything is due or not, so the driver for a token does not log in.
        Raises KeystoreError.
        """
        identity = self.read()
        return identity.certificate if identity is not None else None

    @abstractmethod
    def create_shadow(self, shadow_id: str, key_type: KeyType | None) -> Shadow:
        """Make the key of a shadow, or find the one made earlier under the same id.

        If `key_type` is None, the shadow keeps the key in place (`rekey: never`). Shadows under other ids are left
        alone. It comes with a certificate only if release 0.1 or 0.2 completed it.
        """

    @abstractmethod
    def complete_shadow(
        self, shadow: Shadow, certificate: x509.Certificate, chain: tuple[x509.Certificate, ...], *, tried: bool = False
    ) -> Shadow:
        """The shadow with the certificate issued for its key; whoever calls keeps both certificate and chain.

        `tried`: the key has just signed in a TLS handshake, and the certificate verified it. Otherwise both are tried
        here. Raises KeystoreError if the key does not fit.
        """

    @abstractmethod
    def plan_activation(self, shadow: Shadow, trusted: tuple[x509.Certificate, ...]) -> Plan:
        """How `shadow` becomes the identity; `trusted` goes into ca_file where one is configured."""

    @abstractmethod
    def previous_certificate(self) -> x509.Certificate | None:
        """The certificate of the old identity, from previous/, without a token's PIN; None if there is none."""

    @abstractmethod
    def forget_previous(self) -> None:
        """Remove previous/, so that the old identity never comes back. Raises KeystoreError."""

    def lost_what_links_lead_to(self) -> bool:
        """Whether certagent's own links are in place but lead to nothing, because `live_dir` was lost."""
        return False

    @abstractmethod
    def plan_rollback(self, rollback_id: str) -> Plan | None:
        """How the old identity comes back from previous/; None if there is no old one."""

    @abstractmethod
    def plan_trust(self, swap_id: str, trusted: tuple[x509.Certificate, ...]) -> Plan | None:
        """How to put `trusted` alone into ca_file; None if there is nothing to change.

        The identity and previous/ stay as they are.
        """

    @abstractmethod
    def plan_adjustment(self, swap_id: str, trusted: tuple[x509.Certificate, ...], *, placed: bool) -> Plan | None:
        """How to bring the files in line with the definition, identity unchanged; None if they are.

        `placed`: certagent put the files in place. Otherwise, only what certagent alone can have lost is made again.
        The identity and previous/ stay as they are.
        """

    @abstractmethod
    def sweep_shadows(self, keep: Collection[str]) -> None:
        """Remove every shadow except those under the ids to keep."""

    @abstractmethod
    def keeps_inode(self, found: Look | None) -> bool:
        """Whether the new content is written into this file, instead of a new file taking its place: `swap` says so,
        or it is a mount."""

    @abstractmethod
    def check_target(self, target: Path, *, over: bool) -> None:
        """Check whether this file can be replaced, as far as that can be known. KeystoreError.

        `target`: with links resolved (files.resolve). `over`: the new content is written into it (keeps_inode).
        """

    @abstractmethod
    def check_targets(self) -> None:
        """Check whether the files in place can be looked at and replaced, as far as that is known without writing.

        Called before a certificate is requested. Raises KeystoreError.
        """

    def exposed(self) -> tuple[str, ...]:
        """A line for each file in place that shows the key to everybody. Raises KeystoreError."""
        return ()

    def check_key(self) -> None:  # noqa: B027 -- not every keystore can do it
        """Check that the key in place serves the certificate, as far as that shows without a secret or a token."""

    @abstractmethod
    def watched(self) -> tuple[Path, ...]:
        """The files to watch: when another program changes one, certagent looks at the keystore again."""

    def tidy(self, now: datetime) -> list[str]:
        """Destroy what has been out of use for long enough; returns a line for each thing done.

        Called only while no transaction is open.
        """
        return []

    def remarks(self) -> list[Remark]:
        """For `check`: facts about the place where the key is kept, beyond its files. Changes nothing."""
        return []


def fits(key: PrivateKey, certificate: x509.Certificate) -> bool:
    """Whether the certificate is for this key."""
    try:
        return keys.match(key, certificate.public_key())
    except (ValueError, UnsupportedAlgorithm):  # a kind of key we do not know: not ours
        return False


def prove_pair(key: PrivateKey, certificate: x509.Certificate, where: str) -> None:
    """Sign with the key and verify with the certificate, to prove that they match.

    `where` names the key in the error. Raises KeystoreError.
    """
    sample = b"certagent: does this key fit this certificate?"
    digest = hashes.SHA256()
    try:
        public = certificate.public_key()
        if keys.verify(public, keys.sign(key, sample, digest), sample, digest):
            return
    except (UnsupportedAlgorithm, ValueError):
        pass
    raise KeystoreError(f"the key in {where} does not fit the new certificate", "was another key certified? try again")
