"""`certagent schema`: the configuration's JSON Schema on stdout."""

from __future__ import annotations

import argparse
import json

from certagent.config.schema import json_schema


def schema(_arguments: argparse.Namespace) -> int:
    print(json.dumps(json_schema(), indent=2))
    return 0
