"""The keystore definitions that come with certagent, as a person would use them: copied, their names changed."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Mapping
from pathlib import Path

from certagent import certificate as facts
from tests.interop.commands import ROOT
from tests.renewal.site import Site


def install(site: Site, file: str, changes: Mapping[str, str], further: str = "") -> None:
    """Copy keystores/FILE beside an agent.yaml that knows the site's lab as `corp`; add `further` lines."""
    text = (ROOT / "keystores" / file).read_text()
    mine = {
        "owner: root": f"owner: {pwd.getpwuid(os.geteuid()).pw_name}",
        "group: root": f"group: {grp.getgrgid(os.getegid()).gr_name}",
    }
    for old, new in {**changes, **mine}.items():
        assert old in text, old
        text = text.replace(old, new)
    text += "".join(f"    {line}\n" for line in [f"ca_file: {ca_file(site)}", *further.splitlines()])
    site.path("files").mkdir()
    site.path("keystores").mkdir()
    private(site.path("keystores") / file, text)
    private(site.path("challenge"), site.ca.challenge)
    private(
        site.config,
        f"state_dir: {site.path('state')}\n"
        f"live_dir: {site.path('live')}\n"
        "include: keystores/*.yaml\n"
        "authorities:\n"
        "  corp:\n"
        f"    url: {site.server.url}\n"
        f"    fingerprint: {facts.fingerprint(site.ca.generation.issuer.certificate)}\n"
        f"    challenge: {{file: {site.path('challenge')}}}\n",
    )


def ca_file(site: Site) -> Path:
    return site.path("files/ca.pem")


def private(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o600)
