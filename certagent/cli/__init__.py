"""The commands. Each module has one command or a family of them; heavy imports are inside functions, when needed."""

from certagent.uncollected import loading

with loading():
    from certagent.cli.main import main

__all__ = ["main"]
