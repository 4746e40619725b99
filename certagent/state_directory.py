"""Where everything is below `state_dir`. Pure paths: nothing is read or made.

agent.lock                               held while an agent runs
clock.json                               when the clock was last checked, and trusted
keystores/NAME/lock                      held while a process works on this keystore
               state.json history.jsonl  what is remembered of it
               transaction/ rollover/ owed/  its journals
               shadow/ previous/         identities that are not active yet, or no longer
               refused/                  certificates that were issued but cannot be used
               keys.json certificate.pem for a token: the keys made in it, and the certificate in use
authorities/NAME/                        what is remembered of an authority
                 crl.lock crl.json crl/  its CRLs: the lock of a fetch; its result; each CA's list
tokens/DIGEST/lock pin.json              held while a token is changed; logins that may have failed
"""

from __future__ import annotations

import stat
from pathlib import Path

from msgspec import Struct

# In a keystore's directory. Plain names for loops over ten thousand: making a Path costs more than reading the file.
STATE = "state.json"
TRANSACTION = "transaction"
ROLLOVER = "rollover"
_DIRECTORIES = (TRANSACTION, ROLLOVER, "owed", "shadow", "previous", "previous-ca", "refused", "crl")


def kept_as(name: str) -> int:
    """What is kept under this name in the directory of a keystore or an authority: stat.S_IFDIR, stat.S_IFREG; or 0 if
    certagent keeps nothing of the name, or can do without: the history.
    """
    if name in _DIRECTORIES:
        return stat.S_IFDIR
    return stat.S_IFREG if name.endswith(("lock", ".json", ".pem")) else 0


class StateDirectory(Struct, frozen=True):
    path: Path

    @property
    def agent_lock(self) -> Path:
        return self.path / "agent.lock"

    @property
    def clock(self) -> Path:
        return self.path / "clock.json"

    @property
    def keystores(self) -> Path:
        return self.path / "keystores"

    @property
    def authorities(self) -> Path:
        return self.path / "authorities"

    def keystore(self, name: str) -> KeystoreDirectory:
        return KeystoreDirectory(self.keystores / name)

    def authority(self, name: str) -> Path:
        return self.authorities / name

    def token(self, digest: str) -> TokenDirectory:
        """`digest` stands for a token, which any number of keystores may use."""
        return TokenDirectory(self.path / "tokens" / digest)


class KeystoreDirectory(Struct, frozen=True):
    path: Path

    @property
    def state_directory(self) -> StateDirectory:
        return StateDirectory(self.path.parent.parent)

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def state(self) -> Path:
        return self.path / STATE

    @property
    def history(self) -> Path:
        return self.path / "history.jsonl"

    @property
    def transaction(self) -> Path:
        return self.path / TRANSACTION

    @property
    def rollover(self) -> Path:
        return self.path / ROLLOVER

    @property
    def shadows(self) -> Path:
        return self.path / "shadow"

    @property
    def previous(self) -> Path:
        return self.path / "previous"

    @property
    def refused(self) -> Path:
        return self.path / "refused"

    @property
    def own_keys(self) -> Path:
        return self.path / "keys.json"

    @property
    def certificate(self) -> Path:
        return self.path / "certificate.pem"


class AuthorityDirectory(Struct, frozen=True):
    path: Path

    @property
    def crl_lock(self) -> Path:
        return self.path / "crl.lock"

    @property
    def crl_memory(self) -> Path:
        return self.path / "crl.json"

    @property
    def crls(self) -> Path:
        return self.path / "crl"


class TokenDirectory(Struct, frozen=True):
    path: Path

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def pin(self) -> Path:
        return self.path / "pin.json"
