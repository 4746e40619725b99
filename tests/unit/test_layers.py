"""The shape of the code, held by its imports (docs/architecture.md), and its budget.

What a worker's command loads for real is for the tests of that command; here stands what the sources say.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "certagent"

# Top to bottom; each imports only from lines below its own, and from its own group: what commas part is apart,
# what a plus joins is one thing, and so are the modules of a package (scep.message, scep.signed).
LAYERS = (
    "__main__, demo",
    "cli, lab",
    "agent",
    "status",
    "transaction",
    "revocation",
    "trust",
    "scep, keystore, hooks, state + wall_clock",
    "policy",
    "pauses",
    "lifetime",
    "certificate",
    "lenient",
    "keys, durable, state_directory, host",
    "config",
    "believed",
    "directories, shipped",
    "errors, owned, forms, uncollected, pbes2",
    "text, moments, pem_blocks, mounts, credentials, journald, interrupt, installed, kernel_clock",
)

DOORS = {
    "requests": ("scep.transport", "scep.proxies"),
    "urllib3": ("scep.transport", "scep.wire"),
    "apscheduler": ("agent.appointments",),
    "yaml": ("config.",),
    "subprocess": ("hooks", "agent.reading", "kernel_clock", "status.runner", "demo."),
    "asyncio.subprocess": ("agent.worker_process",),
    "socket": ("lab.server", "agent.systemd", "journald", "transaction.presented", "demo."),
    "rich": ("cli.", "demo."),
    "fcntl": ("durable", "keystore.obstacles", "journald"),
    "pkcs11": ("keystore.token.",),
    "ldap3": ("trust.crl",),
    "OpenSSL": ("trust.proof", "trust.proof_of_use", "transaction.presented", "keystore.hash_directory"),
}

HEAVY = {"cryptography", "asn1crypto", "OpenSSL", "pkcs11", "requests", "rich"}


@cache
def trees() -> dict[str, ast.Module]:
    """Every module by its dotted name below certagent; a package goes by its own name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        found[name] = ast.parse(path.read_text(), str(path))
    return found


@cache
def nodes(name: str) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(trees()[name]))


def unconditional(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that count when the module runs: not what only a type checker sees."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        yield child
        yield from unconditional(child)


def imported(name: str, nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Dotted names of what is imported: other libraries' as they are, our own modules as `certagent.…`."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports relatively"
            module = node.module or ""
            yield module
            if module.partition(".")[0] == "certagent":
                yield from (
                    f"{module}.{alias.name}"
                    for alias in node.names
                    if f"{module}.{alias.name}".removeprefix("certagent.") in trees()
                )


@cache
def imports(name: str) -> frozenset[str]:
    return frozenset(imported(name, nodes(name)))


@cache
def uses(name: str) -> set[str]:
    """Our own modules that `name` imports, without the bare package `certagent` (its version)."""
    own = {word.removeprefix("certagent.") for word in imports(name) if word.startswith("certagent.")}
    return {module for module in own if module in trees()} - {name}


@cache
def places() -> dict[str, tuple[int, str]]:
    """Module or package → its line in LAYERS and its group there."""
    found = {}
    for number, line in enumerate(LAYERS):
        for group in line.split(", "):
            for word in group.split(" + "):
                found[word] = (number, group)
    return found


def place(module: str) -> tuple[int, str]:
    return places()[module.partition(".")[0]]


def modules() -> list[str]:
    return [name for name in trees() if name]


def upward(module: str) -> set[str]:
    number, group = place(module)
    return {other for other in uses(module) if place(other)[1] != group and place(other)[0] <= number}


def test_imports_lead_downward() -> None:
    assert {module: upward(module) for module in modules() if upward(module)} == {}


def test_every_module_has_its_layer() -> None:
    assert {name.partition(".")[0] for name in modules()} <= set(places())


@pytest.mark.parametrize(("package", "other"), [("scep", "keystore"), ("keystore", "scep")])
def test_protocol_and_keystores_do_not_know_each_other(package: str, other: str) -> None:
    inside = [name for name in modules() if name.partition(".")[0] == package]
    assert inside
    for name in inside:
        assert not [used for used in uses(name) if used.partition(".")[0] == other]


def test_production_code_imports_no_lab_and_no_demo() -> None:
    apart = ("lab", "demo")
    found = {(module, used) for module in modules() for used in uses(module) if used.partition(".")[0] in apart}
    assert {(module, used) for module, used in found if module.partition(".")[0] not in apart} == set()


@pytest.mark.parametrize(("library", "doors"), DOORS.items())
def test_one_door_per_library(library: str, doors: tuple[str, ...]) -> None:
    for name in trees():
        through = any(word == library or word.startswith(f"{library}.") for word in imports(name))
        allowed = any(f"{name}.".startswith(door) if door.endswith(".") else name == door for door in doors)
        assert not through or allowed, f"{name} imports {library}"


def test_what_is_made_at_each_start_is_cheap_to_make() -> None:
    """A frozen dataclass costs its module 0.6 ms, since Python compiles its methods anew each time; a Struct 0.02."""
    assert not {name for name in trees() if "dataclasses" in imports(name)}


@pytest.mark.parametrize("start", ["agent.loop", "cli.run", "cli.recover", "cli.main"])
def test_what_the_agent_reaches_is_light(start: str) -> None:
    """Function-level imports count too, but for the driver that `open_keystore` loads for those who open one."""
    reached, waiting = set(), [start]
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        reached.add(name)
        loaded = list(unconditional(trees()[name]))
        inside = {id(inner) for node in loaded if isinstance(node, ast.FunctionDef) for inner in ast.walk(node)}
        words = set(imported(name, (node for node in loaded if id(node) not in inside)))
        heavy = {word for word in words if word.partition(".")[0] in HEAVY}
        assert not heavy, f"{name}, reached from {start}, imports {heavy}"
        for word in words:
            module = word.removeprefix("certagent.")
            if word.startswith("certagent.") and module in trees():
                waiting += [module, *([package] if (package := module.rpartition(".")[0]) else [])]
    assert {"errors"} < reached


@pytest.mark.parametrize(
    "module",
    [
        "policy",
        "lifetime",
        "transaction.planned_request",
        "transaction.ladder",
        "trust.rules",
        "trust.next_ca",
        "config.values",
        "config.configuration",
        "config.parts",
        "config.introduction",
        "config.authority",
        "config.keystores",
        "certificate",
        "keys",
    ],
)
def test_the_pure_ones_do_no_io_and_look_at_no_clock(module: str) -> None:
    assert not {"os", "time", "socket", "subprocess", "shutil"} & imports(module)
    called = {ast.unparse(node.func) for node in nodes(module) if isinstance(node, ast.Call)}
    assert not {name for name in called if name.rpartition(".")[2] in ("open", "now", "utcnow", "today", "read_bytes")}


EDGES = ("cli.", "agent.", "lab.", "demo")


def test_the_wall_clock_is_looked_at_from_the_edges_only() -> None:
    for name in trees():
        if name.startswith(EDGES):
            continue
        called = {ast.unparse(node.func) for node in nodes(name) if isinstance(node, ast.Call)}
        assert not called & {"datetime.now", "time.time", "datetime.utcnow"}, name


def lines(module: str) -> int:
    path = PACKAGE / Path(*module.split("."))
    return len((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text().splitlines())


def long_functions(module: str) -> list[str]:
    functions = (node for node in nodes(module) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return [node.name for node in functions if (node.end_lineno or 0) - node.lineno + 1 > 50]


def test_modules_and_functions_are_short() -> None:
    assert {module: lines(module) for module in modules() if lines(module) > 400} == {}
    assert {module: long_functions(module) for module in modules() if long_functions(module)} == {}


@pytest.mark.parametrize("word", ["agent.lock", "state.json", "history.jsonl", "keys.json", "pin.json"])
def test_one_module_knows_the_names_in_the_state_directory(word: str) -> None:
    said = {name for name in trees() for node in nodes(name) if isinstance(node, ast.Constant) and node.value == word}
    assert said == {"state_directory"}


def test_every_folder_of_tests_is_run() -> None:
    settings = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    folders = {f"tests/{path.parent.name}" for path in (PACKAGE.parent / "tests").glob("*/__init__.py")}
    assert folders <= set(settings["testpaths"])
