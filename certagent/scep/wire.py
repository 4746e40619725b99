"""Connections that limit a server's lines: of headers, of chunks, of `100 Continue`, of trailers.

urllib3 and http.client limit each line, and the headers of one answer, but not how many lines come before, between and
after. The transport limits the length of the body itself.
"""

from __future__ import annotations

from http.client import HTTPResponse
from typing import Any, BinaryIO

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError

# A large CRL in chunks of 4 KiB has some 16,000 lines of a few bytes; a head has twenty, and a kilobyte or two.
_MAX_LINES = 50_000
_MAX_BYTES = 512 * 1024


class EndlessError(HTTPError):
    """An answer with more lines than any honest one has."""


class _Lines:
    """A connection's file that counts its lines."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._lines, self._bytes = _MAX_LINES, _MAX_BYTES

    def readline(self, limit: int = -1) -> bytes:
        line = self._file.readline(limit)
        self._lines -= 1
        self._bytes -= len(line)
        if self._lines < 0 or self._bytes < 0:
            raise EndlessError
        return line

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class _Response(HTTPResponse):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.fp: Any = _Lines(self.fp)


class _Plain(HTTPConnection):
    response_class = _Response


class _Secure(HTTPSConnection):
    response_class = _Response


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _Secure


POOLS: dict[str, type[HTTPConnectionPool]] = {"http": _PlainPool, "https": _SecurePool}
"""The classes with which urllib3's managers make their connections, by scheme."""
