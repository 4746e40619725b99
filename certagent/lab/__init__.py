"""A small but real and standard SCEP CA on loopback, for trying things out and for tests. Production code never
imports it."""

from certagent.lab.ca import LabCA
from certagent.lab.generation import Generation, Settings
from certagent.lab.http import Call, HttpAnswer
from certagent.lab.server import LabServer, serve
from certagent.lab.store import Record
from certagent.lab.transactions import Answer

__all__ = ["Answer", "Call", "Generation", "HttpAnswer", "LabCA", "LabServer", "Record", "Settings", "serve"]
