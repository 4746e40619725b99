"""Sites with a CA, as renewals have them."""

from __future__ import annotations

from tests.renewal.conftest import make_site

__all__ = ["make_site"]
