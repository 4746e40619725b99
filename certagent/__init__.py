"""certagent: keeps the certificates of routers and Linux hosts alive over SCEP."""

__version__ = "0.2.0"
