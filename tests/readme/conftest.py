"""The machine that boots is tests/systemd's."""

from tests.systemd.conftest import machine

__all__ = ["machine"]
