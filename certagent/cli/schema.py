"""`certagent schema`: the configuration's JSON Schema on stdout."""

from __future__ import annotations

import argparse
import json

from certagent import config


def schema(_arguments: argparse.Namespace) -> int:
    print(json.dumps(config.schema(), indent=2))
    return 0
