"""A device with its keystores: what its operator writes, and what must be true of it at every moment."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from cryptography import x509

from certagent import certificate as facts
from certagent import keys

HOOK = 'test ! -e "{broken}" && echo "$CERTAGENT_SERIAL" >>"{log}"'


class BrokenPromiseError(AssertionError):
    """A promise of certagent's did not hold."""


@dataclass
class Keystore:
    """One PEM keystore of the device. `choices` are what an operator may edit."""

    name: str
    directory: Path
    choices: dict[str, str]
    last: x509.Certificate | None = None
    serials: set[int] = field(default_factory=set)
    backup: tuple[bytes, bytes] | None = None
    by_hand: x509.Certificate | None = None

    @property
    def combined(self) -> bool:
        return self.choices["layout"] == "combined"

    @property
    def key_file(self) -> Path:
        return self.directory / "key.pem"

    @property
    def certificate_file(self) -> Path:
        return self.key_file if self.combined else self.directory / "cert.pem"

    @property
    def ca_file(self) -> Path:
        return self.directory / "ca.pem"

    def definition(self) -> str:
        return (
            f"{{type: pem, authority: lab, key_file: {self.key_file}, certificate_file: {self.certificate_file}, "
            f"ca_file: {self.ca_file}, subject: CN={self.name}, swap: {self.choices['swap']}, "
            f"renew_at: {self.choices['renew_at']}, certificate_format: {self.choices['format']}, "
            f"hooks: {{post: [[/bin/sh, -c, '{HOOK.format(broken=self.broken, log=self.hook_log)}']]}}}}"
        )

    @property
    def broken(self) -> Path:
        """While this file exists the post hook fails."""
        return self.directory.parent / f"{self.name}.broken"

    @property
    def hook_log(self) -> Path:
        return self.directory.parent / f"{self.name}.hooks"

    def hooked(self) -> list[str]:
        return self.hook_log.read_text().split() if self.hook_log.exists() else []

    def edit(self, dice: random.Random) -> None:
        """An operator changes one thing."""
        options = {"swap": ("rename", "symlink"), "renew_at": ("66%", "50%", "20d"), "format": ("leaf", "fullchain")}
        word = dice.choice(sorted(options))
        self.choices[word] = dice.choice(options[word])

    def keep_a_copy(self) -> None:
        self.backup = (self.key_file.read_bytes(), self.certificate_file.read_bytes())

    def put_the_copy_back(self) -> None:
        """An operator restores files from a backup, as whole files where links may have been."""
        assert self.backup is not None
        for path, content in zip((self.key_file, self.certificate_file), self.backup, strict=True):
            path.unlink(missing_ok=True)
            path.write_bytes(content)
            path.chmod(0o600)
        self.last, self.by_hand = None, self.leaf()

    def leaf(self) -> x509.Certificate | None:
        """The certificate in place, after seeing that its key is in place too."""
        if not self.certificate_file.exists():
            return None
        found = facts.load_pem(self.certificate_file.read_bytes(), self.name)
        if not found:
            raise BrokenPromiseError(f"{self.name}: no certificate in {self.certificate_file.name}")
        key = keys.load_private(self.key_file.read_bytes(), None, self.name)
        if not keys.match(key, found[0].public_key()):
            raise BrokenPromiseError(f"{self.name}: key and certificate do not match")
        return found[0]

    def check(self, now: datetime, excused_until: datetime) -> None:
        """Everything that must be true after a boot. Raises BrokenPromiseError."""
        stray = [each.name for each in self.directory.iterdir() if each.name.startswith(".")]
        if stray:
            raise BrokenPromiseError(f"{self.name}: left behind: {', '.join(stray)}")
        leaf = self.leaf()
        if leaf is None:
            return
        if self.last is not None and leaf.not_valid_after_utc < self.last.not_valid_after_utc:
            raise BrokenPromiseError(f"{self.name}: an older certificate came back")
        if leaf.not_valid_after_utc < now and excused_until < now:
            raise BrokenPromiseError(f"{self.name}: expired since {leaf.not_valid_after_utc:%F %R} without an excuse")
        trusted = facts.load_pem(self.ca_file.read_bytes(), "ca.pem") if self.ca_file.exists() else ()
        if trusted and not any(ca.subject == leaf.issuer for ca in trusted):
            raise BrokenPromiseError(f"{self.name}: ca_file does not hold the issuer of what is in place")
        self.serials.add(leaf.serial_number)
        self.last = leaf

    def check_hooks(self) -> None:
        """With no transaction open, the hook has run for what is in place. Raises BrokenPromiseError."""
        if self.last is not None and self.last != self.by_hand and facts.serial_hex(self.last) not in self.hooked():
            raise BrokenPromiseError(f"{self.name}: the post hook never ran for {facts.serial_hex(self.last)}")
