"""How `check` reports its findings: line by line as they are known, or as one piece of JSON at the end."""

from __future__ import annotations

from typing import Protocol

from certagent.cli.terminal import Finding, Mark, indented, print_findings, print_title, terminal
from certagent.text import printable

_LEVELS = {Mark.FINE: "fine", Mark.WARNING: "warning", Mark.WRONG: "fault"}


class Report(Protocol):
    """`counts`: how many findings of each kind there were."""

    counts: dict[Mark, int]

    def begin(self, title: str) -> None:
        """A group of findings, such as `keystore web`."""

    def add(self, finding: Finding) -> None: ...

    def end(self) -> None: ...


class Shown:
    """For people. `quiet`: only faults and warnings, and no total if there are none."""

    def __init__(self, *, quiet: bool) -> None:
        self.counts = dict.fromkeys(Mark, 0)
        self._console = terminal()
        self._quiet = quiet
        self._title = ""

    def begin(self, title: str) -> None:
        self._title = title
        if not self._quiet:
            self._head()

    def _head(self) -> None:
        if self._title:
            print_title(self._console, self._title)
        self._title = ""

    def add(self, finding: Finding) -> None:
        self.counts[finding.mark] += 1
        if self._quiet and finding.mark is Mark.FINE:
            return
        self._head()
        print_findings(self._console, [finding], indent=2)

    def end(self) -> None:
        if not self._quiet or self.counts[Mark.WRONG] or self.counts[Mark.WARNING]:
            print(f"\n{many(self.counts[Mark.WRONG], 'fault')}, {many(self.counts[Mark.WARNING], 'warning')}")


class AsJson:
    """For programs."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(Mark, 0)
        self._findings: list[dict[str, str]] = []
        self._about = ""

    def begin(self, title: str) -> None:
        self._about = title

    def add(self, finding: Finding) -> None:
        self.counts[finding.mark] += 1
        told = {"text": printable(finding.text), "hint": printable(finding.hint)}
        self._findings.append({"about": printable(self._about), "level": _LEVELS[finding.mark], **told})

    def end(self) -> None:
        sums = {"faults": self.counts[Mark.WRONG], "warnings": self.counts[Mark.WARNING]}
        print(indented({**sums, "findings": self._findings}))


def many(count: int, what: str) -> str:
    return f"{count or 'no'} {what}{'' if count == 1 else 's'}"
