"""`certagent completion`: what a shell offers at the Tab key. The scripts only ask; the parser has the answers.

So a script never gets out of date: it calls the certagent it completes for, which answers from its own parser.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from certagent.cli import commands, parser
from certagent.cli.parser import Parser
from certagent.errors import CertagentError

# A line that starts with this is not a word: the shell itself knows files best.
FILES = ":files"

BASH = """\
# bash completion of certagent. To install: certagent completion bash >/etc/bash_completion.d/certagent
_certagent() {
    local cur word typed="${COMP_LINE:0:COMP_POINT}"
    cur="${typed##*[[:space:]]}"
    COMPREPLY=()
    while IFS=$'\\t' read -r word _; do
        if [[ $word == :files ]]; then
            compopt -o filenames 2>/dev/null
            COMPREPLY+=($(compgen -f -- "$cur"))
        else
            # bash takes a colon for the end of a word, and adds to what stands behind it.
            [[ $cur == *:* && $COMP_WORDBREAKS == *:* ]] && word="${word#"${cur%"${cur##*:}"}"}"
            COMPREPLY+=("$word")
        fi
    done < <("${COMP_WORDS[0]}" completion --line "$typed" 2>/dev/null)
}
complete -F _certagent certagent
"""

ZSH = """\
#compdef certagent
# zsh completion of certagent. To install: certagent completion zsh >"${fpath[1]}/_certagent"
_certagent() {
    local line word what
    local -a found
    for line in "${(@f)$("${words[1]}" completion --line "${(j: :)words[1,CURRENT]}" 2>/dev/null)}"; do
        if [[ $line == :files ]]; then
            _files
        elif [[ -n $line ]]; then
            word="${line%%$'\\t'*}" what="${line#*$'\\t'}"
            found+=("${word//:/\\\\:}:$what")
        fi
    done
    (( ${#found} )) && _describe certagent found
}
if [[ $funcstack[1] == _certagent ]]; then _certagent "$@"; else compdef _certagent certagent; fi
"""

FISH = """\
# fish completion of certagent. To install: certagent completion fish >~/.config/fish/completions/certagent.fish
function __certagent
    set -l typed (commandline -cp | string collect)
    set -l command (commandline -opc)[1]
    for line in ($command completion --line "$typed" 2>/dev/null)
        if test "$line" = :files
            __fish_complete_path (commandline -ct)
        else
            echo $line
        end
    end
end
complete -c certagent -f -a '(__certagent)'
"""

SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def add_arguments(made: argparse.ArgumentParser) -> None:
    what = made.add_mutually_exclusive_group(required=True)
    what.add_argument("shell", nargs="?", choices=tuple(SCRIPTS), metavar="SHELL", help="bash, zsh or fish")
    # For the scripts: the line as typed so far.
    what.add_argument("--line", help=argparse.SUPPRESS)


def completion(arguments: argparse.Namespace) -> int:
    if arguments.line is None:
        print(SCRIPTS[arguments.shell], end="")
        return 0
    for word, what in offered(arguments.line):
        print(word if word == FILES else f"{word}\t{what}")
    return 0


def offered(line: str) -> Iterator[tuple[str, str]]:
    """What can follow `line`, or complete its last word; each with its description."""
    typed = [*line.split(), *([""] if line[-1:].isspace() else [])][1:]
    if not typed:
        return
    *before, current = typed
    try:
        top = parser.build(before)
    except CertagentError:  # a command that was left out of this installation
        return
    for word, what in _possible(top, before, current):
        if word.startswith(current) or word == FILES:
            yield word, what.partition("\n")[0]


def _possible(top: Parser, before: Sequence[str], current: str) -> Iterator[tuple[str, str]]:
    reading, waiting = _Reading(top), list(before)
    while waiting:
        reading.take(waiting.pop(0))
    if reading.value_of is not None:
        yield from _values(reading.value_of, before)
    elif current.startswith("-"):
        yield from _options(reading.parser, before)
    else:
        yield from parser.summaries(reading.parser).items()
    for action in () if reading.value_of is not None else reading.positionals()[:1]:
        yield from _values(action, before)


class _Reading:
    """How far a command line has been read: by which parser, and whose value comes next."""

    def __init__(self, top: Parser) -> None:
        self.parser = top
        self.value_of: argparse.Action | None = None
        self._taken = 0

    def take(self, word: str) -> None:
        if self.value_of is not None:
            self.value_of = None
        elif word.startswith("-"):
            options = {option: each for each in self._actions for option in each.option_strings}
            action = options.get(word)
            self.value_of = action if action is not None and action.nargs != 0 else None
        else:
            below = next((inside[word] for inside in parser.subparsers(self.parser) if word in inside), None)
            self._taken = 0 if below is not None else self._taken + 1
            self.parser = below or self.parser

    def positionals(self) -> list[argparse.Action]:
        """The arguments that a word can be for: the next one, or the last if it takes several."""
        found = [each for each in self._actions if not each.option_strings and not parser.subparsers_of(each)]
        return found[self._taken :] or [each for each in found[-1:] if each.nargs in ("*", "+")]

    @property
    def _actions(self) -> list[argparse.Action]:
        return parser.actions(self.parser)


def _options(reading: Parser, before: Sequence[str]) -> Iterator[tuple[str, str]]:
    for action in parser.actions(reading):
        given = any(option in before for option in action.option_strings)
        if action.help == argparse.SUPPRESS or (given and not isinstance(action, argparse._AppendAction)):  # noqa: SLF001
            continue
        for option in action.option_strings[-1:]:
            yield option, (action.help or "").partition(" (default")[0]


def _values(action: argparse.Action, before: Sequence[str]) -> Iterator[tuple[str, str]]:
    if action.choices is not None:
        yield from ((str(each), "") for each in action.choices)
    elif action.metavar in ("NAME", "OLD", "NEW", "AUTHORITY") and action.dest in _CONFIGURED:
        yield from _configured(str(action.metavar), before)
    elif action.metavar in ("FILE", "DIR") or action.type is Path:
        yield FILES, ""


_CONFIGURED = ("names", "name", "old", "new", "into")


def _configured(metavar: str, before: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Keystores, or authorities, that are not named yet; none if the configuration cannot be read."""
    from certagent.config.load import load_configuration  # noqa: PLC0415 -- for words that may be names alone

    try:
        configuration = load_configuration(commands.configured_at(before))
    except CertagentError:
        return
    if metavar == "AUTHORITY":
        for name, authority in configuration.authorities.items():
            if name not in before:
                yield name, authority.urls[0]
    for name, keystore in () if metavar == "AUTHORITY" else configuration.keystores.items():
        if name not in before:
            yield name, ", ".join(map(str, keystore.paths.values()))
