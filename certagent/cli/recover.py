"""`certagent recover`: at boot, before the consumers start. Works even if the configuration is broken."""

from __future__ import annotations

import argparse
import json
import sys

from certagent.cli import streams
from certagent.config.load import state_dir_of
from certagent.journald import ERROR
from certagent.text import with_hint
from certagent.transaction import recovery


def recover(arguments: argparse.Namespace) -> int:
    failed = False
    for done in recovery.recover_all(state_dir_of(arguments.config)):
        failed = failed or done.error is not None
        if arguments.json:
            error, hint = (str(done.error), done.error.hint) if done.error is not None else (None, None)
            told = {"keystore": done.keystore, "recovered": error is None, "message": error or done.message}
            print(json.dumps({**told, "hint": hint}))
        elif done.error is not None:
            line = f"{done.keystore}: {with_hint(str(done.error), done.error.hint)}"
            streams.say(line, sys.stderr, done.keystore, ERROR)
        elif not arguments.quiet:
            streams.say(f"{done.keystore}: {done.message}", sys.stdout, done.keystore)
    return 1 if failed else 0
