"""The parts of a first configuration, and whether each is valid: judged as the configuration would be.

The faults are those of agent.yaml, in the same words: the same code decodes an answer and the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec import Struct

from certagent.config.decode import Decoder, Location, Problems, Scalar
from certagent.config.values import AlternativeName, Fingerprint, Name, SecretFile, Subject, Url, WrittenFile

KINDS: dict[str, Any] = {
    "url": Url,
    "fingerprint": Fingerprint,
    "authority": Name,
    "name": AlternativeName,
    "subject": Subject,
    "challenge_file": SecretFile,
    "key_file": WrittenFile,
    "certificate_file": WrittenFile,
}


class Answers(Struct, frozen=True):
    """`names`: alternative names; the first is used for the subject if none is given. `challenge`: as in agent.yaml,
    empty for none. `secret`: one that was typed, to be stored in the file that `challenge` names.
    """

    url: str
    fingerprint: Fingerprint
    consumer: str
    names: tuple[str, ...]
    subject: str = ""
    authority: str = "corp"
    challenge: str = ""
    secret: str = ""
    ca_identifier: str = ""
    proxy: str = ""
    accept: tuple[str, ...] = ()
    key_file: str = ""
    certificate_file: str = ""
    state_dir: str = ""


def fault(kind: str, text: str) -> str:
    """What is wrong with an answer, and what to do about it, in a line; empty if it is valid."""
    problems = Problems([""])
    Decoder(problems).decode(Scalar(Location("", 0), text, text), KINDS[kind], (kind,))
    return problems.lines()[0].partition(f"{kind}: ")[2] if problems else ""


def alternative_name(text: str) -> str:
    """A name as it was typed: without a kind, it is a DNS name."""
    return text if ":" in text else f"dns:{text}"


def in_directory(path: Path, name: str) -> str:
    return str(path.absolute().parent / name)
