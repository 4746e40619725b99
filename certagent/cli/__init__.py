"""The commands. Each module holds one command or a family of them; heavy imports happen inside, when needed."""

from certagent.cli.main import main

__all__ = ["main"]
