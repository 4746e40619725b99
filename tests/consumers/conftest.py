from __future__ import annotations

from tests.renewal.conftest import make_site
from tests.systemd.conftest import machine

__all__ = ["machine", "make_site"]
