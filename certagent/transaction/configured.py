"""One configured keystore on this host: its configuration, and where it and its records are."""

from __future__ import annotations

from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from certagent import policy
from certagent.config.authority import Authority
from certagent.config.configuration import Configuration
from certagent.config.introduction import Introduction
from certagent.config.keystores import KeystoreDefinition
from certagent.config.load import digest_of
from certagent.errors import KeystoreError
from certagent.hooks import read_secret
from certagent.keystore import open_keystore
from certagent.state_directory import KeystoreDirectory, StateDirectory
from certagent.transaction.journal import Journal
from certagent.transaction.ladder import Named

if TYPE_CHECKING:
    from cryptography import x509

    from certagent.keystore.base import Identity, Keystore


class ConfiguredKeystore(Struct, frozen=True, dict=True):
    """`digest` is of its definition, `host` tells this machine from others, `directory` is its own in state_dir."""

    name: str
    definition: KeystoreDefinition
    authority: Authority
    digest: str
    host: str
    directory: Path
    live_dir: Path

    @cached_property
    def keystore(self) -> Keystore:
        """The driver; nothing is read yet."""
        return open_keystore(
            self.name, self.definition, directory=self.directory, live_dir=self.live_dir, read_secret=read_secret
        )

    @property
    def introduction(self) -> Introduction | None:
        """The factory identity that signs first enrollments, if one is configured."""
        return self.definition.introduce_with or self.authority.introduce_with

    @cached_property
    def factory_identity(self) -> Identity | None:
        """Read once: a command may have its password. None if none is configured. Raises what reading it raises."""
        from certagent.keystore.introduction import read_introduction  # noqa: PLC0415 -- no cryptography without one

        state = KeystoreDirectory(self.directory).state_directory
        return read_introduction(self.introduction, state, read_secret) if self.introduction is not None else None

    @property
    def ways(self) -> Named:
        """What the configuration names for an enrollment."""
        return Named(self.introduction is not None, self.authority.challenge is not None)

    @cached_property
    def journal(self) -> Journal:
        """The journal of the open transaction."""
        return Journal(self.directory)

    @cached_property
    def rollover(self) -> Journal:
        """The journal of the rollover in preparation."""
        return Journal(self.directory, "rollover")

    @cached_property
    def owed(self) -> Journal:
        """The journal of hooks that the certificate in place still owes while its successor is made."""
        return Journal(self.directory, "owed")

    @property
    def endpoints(self) -> dict[str, str]:
        """The addresses for requests, and their names in journals; a transaction begun at another cannot continue."""
        return {self.endpoint_at(url): url for url in self.authority.urls}

    def endpoint_at(self, url: str) -> str:
        """How a journal records that this address took the request."""
        return f"{url} {self.authority.ca_identifier or ''}".strip()

    @cached_property
    def rules(self) -> policy.Rules:
        """The part of the definition that says when to act."""
        return policy.Rules(
            renew_at=self.definition.renew_at,
            jitter=self.definition.jitter,
            share=policy.jitter_share(self.name, self.host),
            can_enroll=self.definition.says_whom,
            rollover_at=self.authority.rollover_at,
            poll_interval=self.authority.poll_interval,
            activate_in=self.definition.activate_in,
            enrolls_revoked=self.definition.when_revoked == "enroll" and self.definition.says_whom,
        )


def configured_keystore(configuration: Configuration, name: str, host: str) -> ConfiguredKeystore:
    """The keystore of this name; nothing is read yet. Raises KeyError for a name that is not configured."""
    definition = configuration.keystores[name]
    authority = configuration.authority_of(definition)
    return ConfiguredKeystore(
        name=name,
        definition=definition,
        authority=authority,
        digest=digest_of(definition, authority),
        host=host,
        directory=_keystores(configuration.state_dir) / name,
        live_dir=_path(configuration.live_dir),
    )


@cache
def _keystores(state_dir: str) -> Path:
    return StateDirectory(Path(state_dir)).keystores


_path = cache(Path)


def certificate_in_place(keystore: Keystore) -> x509.Certificate | None:
    """The certificate in place; None also if it cannot be read."""
    try:
        return keystore.read_certificate()
    except KeystoreError:
        return None
