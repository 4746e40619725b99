"""A device with one keystore, `vpn`, and the CA it is to be enrolled at."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


class Device:
    """`trust`: the authority's line that says whom to believe. `write` adds further lines, of YAML."""

    def __init__(self, directory: Path, url: str, challenge: str, trust: str) -> None:
        self.directory = directory
        self.config = directory / "agent.yaml"
        self.key = directory / "vpn.key"
        self.certificate = directory / "vpn.pem"
        self._url, self._challenge, self._trust = url, challenge, trust

    def write(self, authority: str, keystore: str = "", *, url: str = "", challenge: str = "", trust: str = "") -> None:
        """agent.yaml; what is not said here is as the device was made with."""
        secret = self.directory / "challenge"
        secret.write_text(f"{challenge or self._challenge}\n")
        secret.chmod(0o600)
        lines = [
            f"state_dir: {self.directory / 'state'}",
            "authorities:",
            "  corp:",
            f"    url: {url or self._url}",
            f"    {trust or self._trust}",
            f"    challenge: {{file: {secret}}}",
            *_indented(authority),
            "keystores:",
            "  vpn:",
            "    type: pem",
            "    authority: corp",
            f"    key_file: {self.key}",
            f"    certificate_file: {self.certificate}",
            *_indented(keystore or "subject: CN=vpn.example.net,O=Example\nsan: [dns:vpn.example.net, ip:192.0.2.7]"),
        ]
        self.config.write_text("\n".join(lines) + "\n")
        self.config.chmod(0o600)

    def is_untouched(self) -> bool:
        return not self.key.exists() and not self.certificate.exists()


def _indented(lines: str) -> Iterable[str]:
    return (f"    {line}" for line in lines.splitlines())
