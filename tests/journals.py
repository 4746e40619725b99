"""Journals as earlier releases wrote them."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from certagent.transaction.journal import Transaction


def of_release_0_2(transaction: Transaction, **fields: Any) -> bytes:
    """One record, replaced as a whole at each step. `fields` as in JSON; None leaves one out."""
    record = {"version": 1} | msgspec.json.decode(msgspec.json.encode(transaction)) | fields
    return json.dumps(
        {word: value for word, value in record.items() if word not in fields or value is not None}
    ).encode()
