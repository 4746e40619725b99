"""A device whose service reads the CRLs of its authority."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from msgspec.structs import replace

from certagent.cli.crl import work_for
from certagent.config.crl_files import crl_files
from certagent.config.load import load_configuration
from certagent.revocation.memory import Memory, next_look
from certagent.revocation.refresh import Done, refresh
from certagent.trust import crl
from certagent.trust.authorities import Authorities
from tests.renewal.site import Clock, Site

HOUR = timedelta(hours=1)


class Gateway:
    """A device with a keystore, whose authority's CRLs its service reads."""

    def __init__(self, site: Site) -> None:
        self.site = site

    @property
    def file(self) -> Path:
        return self.site.path("files/ca.crl")

    @property
    def clock(self) -> Clock:
        return self.site.clock

    def write(self, authority: str = "", keystore: str = "") -> None:
        self.site.write(keystore, f"crl_file: {self.file}\n{authority}")

    def refresh(self, *, at_once: bool = False) -> Done:
        configuration = load_configuration(self.site.config)
        authorities = Authorities(configuration.authorities, Path(configuration.state_dir))
        files = crl_files(configuration)["lab"]
        work = work_for(configuration, "lab", files, authorities=authorities, clock=self.site.clock)
        return refresh(replace(work, log=self.site.log.append, share=0.0), at_once=at_once)

    def lists(self, file: Path | None = None) -> list[x509.CertificateRevocationList]:
        content = (file or self.file).read_bytes()
        return crl.read_all(content)

    def numbers(self) -> list[int | None]:
        return [crl.number(each) for each in self.lists()]

    def error(self, done: Done) -> str:
        return "; ".join(each.message for each in done.memory.errors)

    def next(self, memory: Memory) -> timedelta:
        return next_look(memory, self.clock()) - self.clock()

    def hook(self, name: str = "reload") -> str:
        """An executable that notes its environment; it fails while NAME.fails is there."""
        script = self.site.path(name)
        script.write_text(f"#!/bin/sh\nenv | grep ^CERTAGENT_ | sort >>{script}.ran\n[ ! -e {script}.fails ]\n")
        script.chmod(0o755)
        return str(script)

    def ran(self, name: str = "reload") -> list[str]:
        """How often, by one of its variables."""
        file = self.site.path(f"{name}.ran")
        told = file.read_text().splitlines() if file.exists() else []
        return [line.partition("=")[2] for line in told if line.startswith("CERTAGENT_CRL_FILE=")]


Publish = Callable[[x509.CertificateRevocationList], None]
