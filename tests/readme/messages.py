"""Every error message in the code, as a template: its fixed words, with `...` for what is put in.

`python -m tests.readme.messages` prints the messages that docs/troubleshooting.md does not explain, and those that it
explains although the code no longer has them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import product
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/troubleshooting.md"
PUT_IN = "..."
LEFT_OUT = ("lab", "demo")  # for whoever has just typed the command
_FOR_USERS = ("config", "cli", "keystore/token/uri.py")
"""Where the text of a ValueError is for users: elsewhere it only means that something is malformed."""
_FAULTS = re.compile(r"fault|_check_|_not_found|trouble|_told|none_of|another_type")
"""The names of functions that return what is wrong, and what to do."""


@dataclass(frozen=True)
class Module:
    """A module of certagent, with what its names stand for."""

    path: Path
    tree: ast.Module
    functions: dict[str, ast.FunctionDef] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Module:
        tree = ast.parse(path.read_text())
        functions = {each.name: each for each in tree.body if isinstance(each, ast.FunctionDef)}
        return cls(path.relative_to(ROOT / "certagent"), tree, functions)

    def scopes(self) -> Iterator[Scope]:
        yield Scope(self, self.tree)
        yield from (Scope(self, node) for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef))


@dataclass
class Scope:
    """A function, or a module without its functions."""

    module: Module
    body: ast.Module | ast.FunctionDef

    @cached_property
    def nodes(self) -> list[ast.AST]:
        found: list[ast.AST] = []
        waiting: list[ast.AST] = [*self.body.body]
        while waiting:
            node = waiting.pop()
            if not isinstance(node, ast.FunctionDef):
                found.append(node)
                waiting += ast.iter_child_nodes(node)
        return found

    @cached_property
    def assigned(self) -> dict[str, list[ast.expr]]:
        """What is assigned to each name here, or in the module."""
        found: dict[str, list[ast.expr]] = {}
        nodes = (node for node in (*self.nodes, *self.module.tree.body) if isinstance(node, ast.Assign))
        for node in nodes:
            for target in node.targets:
                for one, value in _pairs(target, node.value):
                    mentioned = {each.id for each in ast.walk(value) if isinstance(each, ast.Name)}
                    nothing_yet = isinstance(value, ast.Constant) and value.value == ""
                    if isinstance(one, ast.Name) and one.id not in mentioned and not nothing_yet:
                        found.setdefault(one.id, []).append(value)
        return found

    def said(self, errors: set[str]) -> Iterator[tuple[int, ast.expr]]:
        """Each expression that becomes a message, with its line."""
        finds = isinstance(self.body, ast.FunctionDef) and _FAULTS.search(self.body.name)
        for node in self.nodes:
            if isinstance(node, ast.Call) and (argument := self._message(node, errors)) is not None:
                yield node.lineno, argument
            if finds and isinstance(node, ast.Return) and node.value is not None:
                pairs = (each for each in _alternatives(node.value) if isinstance(each, ast.Tuple))
                yield from ((each.lineno, each.elts[0]) for each in pairs if len(each.elts) == len(("what", "hint")))

    def _message(self, call: ast.Call, errors: set[str]) -> ast.expr | None:
        name = ast.unparse(call.func)
        word = name.rpartition(".")[2]
        if name.endswith("problems.add"):
            return next(
                (each for each in call.args if isinstance(each, ast.Starred)), call.args[min(2, len(call.args))]
            )
        if word == "Meta":
            return next((each.value for each in call.keywords if each.arg == "extra"), None)
        for_users = word == "ValueError" and str(self.module.path).startswith(_FOR_USERS)
        return call.args[0] if call.args and (for_users or word in errors or word == "End") else None

    def texts(self, expression: ast.expr) -> set[str]:
        """What an expression may say."""
        match expression:
            case ast.Constant(value=str(text)):
                return {text}
            case ast.JoinedStr(values=values):
                return {"".join(each) for each in product(*map(self.texts, values))}
            case ast.Dict(keys=keys, values=values):
                whats = [value for key, value in zip(keys, values, strict=True) if key is None or _is_what(key)]
                return {text if text.startswith("is not ") else f"is not {text}" for text in self._all(whats)}
            case ast.FormattedValue(value=ast.Name() as name):
                return self.texts(name) - {""} or {PUT_IN}
            case ast.Call(func=ast.Name(id=name)) if name.startswith("_") and name in self.module.functions:
                return self._returned(self.module.functions[name]) or {PUT_IN}
        return self._all(self._behind(expression)) or {PUT_IN}

    def _behind(self, expression: ast.expr) -> list[ast.expr]:
        """The expressions that it may stand for."""
        match expression:
            case ast.FormattedValue(value=ast.IfExp() as value) | ast.Starred(value=value):
                return [value]
            case ast.Name(id=name):
                return self.assigned.get(name, [])
            case ast.Tuple(elts=[first, *_]):
                return [first]
        return alternatives if (alternatives := _alternatives(expression)) != [expression] else []

    def _all(self, expressions: Iterable[ast.expr]) -> set[str]:
        return {text for each in expressions for text in self.texts(each)}

    def _returned(self, function: ast.FunctionDef) -> set[str]:
        inner = Scope(self.module, function)
        returns = [node.value for node in inner.nodes if isinstance(node, ast.Return)]
        return inner._all(each for each in returns if each is not None)


def _pairs(target: ast.expr, value: ast.expr) -> Iterator[tuple[ast.expr, ast.expr]]:
    """What is assigned to what: several at once, or one."""
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        yield from zip(target.elts, value.elts, strict=True)
    else:
        yield target, value


def _is_what(key: ast.expr) -> bool:
    return isinstance(key, ast.Constant) and key.value == "what"


def _alternatives(expression: ast.expr) -> list[ast.expr]:
    match expression:
        case ast.IfExp(body=body, orelse=other):
            return [*_alternatives(body), *_alternatives(other)]
        case ast.BoolOp(values=values):
            return [each for value in values for each in _alternatives(value)]
    return [expression]


def _errors(modules: Iterable[Module]) -> set[str]:
    """The names of all error classes."""
    classes = [node for each in modules for node in ast.walk(each.tree) if isinstance(node, ast.ClassDef)]
    bases = {each.name: {ast.unparse(base) for base in each.bases} for each in classes}
    known = {"CertagentError"}
    while more := {name for name, its in bases.items() if its & known} - known:
        known |= more
    return known


def _template(text: str) -> str:
    """A message without backticks, which the page puts around the whole."""
    return re.sub(r"(\.\.\.)+", PUT_IN, " ".join(text.replace("`", "").replace("…", PUT_IN).split()))


@cache
def _modules() -> list[Module]:
    paths = sorted((ROOT / "certagent").rglob("*.py"))
    return [each for each in map(Module.read, paths) if each.path.parts[0] not in LEFT_OUT]


@cache
def messages() -> dict[str, list[str]]:
    """Each error message that has fixed words, with the places (`module:line`) that use it."""
    modules, found = _modules(), dict[str, list[str]]()
    errors = _errors(modules)
    for scope in (scope for module in modules for scope in module.scopes()):
        for line, expression in scope.said(errors):
            for text in scope.texts(expression):
                # The text of a ValueError has its hint in it: "what; hint".
                template = _template(
                    text.partition("; ")[0] if scope.module.path.parts[0] in ("config", "cli") else text
                )
                if re.search(r"[a-z]{2}", template):
                    found.setdefault(template, []).append(f"{scope.module.path}:{line}")
    return found


def other_texts() -> set[str]:
    """Every other text in the code, as a template: what is logged, or shown in STATUS, is among them."""
    found: set[str] = set()
    for scope in (scope for module in _modules() for scope in module.scopes()):
        for node in scope.nodes:
            if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str)):
                found |= scope.texts(node)
    return {_template(re.sub(r"%[+.\d]*[sdf]", PUT_IN, each)) for each in found if " " in each}


def explained() -> list[str]:
    """Each message on the page: the words in backticks in the first column of its tables."""
    rows = re.findall(r"^\| (`.*?`) \|", PAGE.read_text(), re.MULTILINE)
    return [each for row in rows for each in re.findall(r"`([^`]+)`", row)]


def covers(words: str, template: str) -> bool:
    """Whether words on the page stand for a message: the same, or the same but for words that are left out (`...`)."""
    if words == template:
        return True
    pattern = _pattern(words)
    return pattern is not None and pattern.fullmatch(template) is not None


@cache
def _pattern(words: str) -> re.Pattern[str] | None:
    """None for words that are too general to be found by."""
    general = len(re.findall(r"[\w'-]{2,}", words)) < 3
    return None if general else re.compile(re.escape(words).replace(re.escape(PUT_IN), ".*"))


def unexplained() -> dict[str, list[str]]:
    """The messages that are not on the page, with their places."""
    known = explained()
    exact = set(known)
    return {
        template: places
        for template, places in sorted(messages().items())
        if template not in exact and not any(covers(words, template) for words in known)
    }


def no_longer_said() -> list[str]:
    """What is on the page, but not in the code."""
    left = _unsaid(explained(), set(messages()))
    return _unsaid(left, other_texts()) if left else []


def _unsaid(known: Iterable[str], texts: set[str]) -> list[str]:
    return [words for words in known if words not in texts and not any(covers(words, each) for each in texts)]


def main() -> None:
    for template, places in unexplained().items():
        print(f"not on the page: {template}    ({', '.join(places)})")
    for words in no_longer_said():
        print(f"no longer said: {words}")


if __name__ == "__main__":
    main()
