"""The files of a first configuration, made from the shipped ones: agent.yaml.example and keystores/. Pure.

Nothing of them is repeated here, so they cannot differ: lines are found by their keys and get new values.
"""

from __future__ import annotations

import json
import re

from certagent.cli.init.answers import Answers

PLAIN = "pem"
"""The consumer that is not in keystores/: two files, as in the example."""

_EXAMPLE_KEYSTORE = "web"
_SAFE = re.compile(r"[\w./:@=,+*-]+")
# "Copy beside agent.yaml as keystores/nginx.yaml, change the names.": no longer needed.
_BREAK = r"\s(?:# )?"  # a sentence goes on in the next line of a comment
_COPY = re.compile(
    " Copy" + r" beside agent\.yaml as keystores/\S+?\.yaml(?:, change the names)?\.".replace(" ", _BREAK)
)


def agent_yaml(example: str, answers: Answers) -> str:
    """agent.yaml: the example's, without its keystores."""
    head, _, rest = example.partition("\nstate_dir:")
    text = f"state_dir:{rest}".partition("\nkeystores:")[0]  # which get files of their own
    text = re.sub(r" +# [1-5]: .*", "", text)
    text = _set(text, "url", _written(answers.url))
    text = _set(text, "fingerprint", str(answers.fingerprint))
    text = _set(text, "challenge", answers.challenge, drop=not answers.challenge)
    for key, value in (("ca_identifier", answers.ca_identifier), ("proxy", answers.proxy)):
        if value:
            text = re.sub(rf"(?m)^    # {key}: .*", lambda _: f"    {key}: {_written(value)}", text)  # noqa: B023
    if answers.accept:
        text = re.sub(r"(?m)^    # accept: .*", f"    accept: [{', '.join(answers.accept)}]", text)
    if answers.state_dir:
        text = re.sub(r"(?m)^state_dir: .*", lambda _: f"state_dir: {_written(answers.state_dir)}", text)
    text = text.replace("\n  corp:\n", f"\n  {answers.authority}:\n")
    text = re.sub(r"(?m)^  authority: .*", f"  authority: {answers.authority}", text)
    rules = re.findall(r"(?m)^# (?:The file must|Every key).*", head)
    return "# Written by `certagent init`. After a change: certagent check\n" + "\n".join(
        [*rules, "", text.rstrip(), ""]
    )


def keystore(definition: str, answers: Answers, name: str) -> str:
    """A file below keystores/: the shipped one for this consumer, or the example's keystore, with the given names."""
    if answers.consumer == PLAIN:
        definition = definition[definition.index("\nkeystores:") + 1 :]
        definition = definition.replace(f"\n  {_EXAMPLE_KEYSTORE}:\n", f"\n  {name}:\n")
        definition = re.sub(r" +# [1-5]: .*", "", definition)
    text = _COPY.sub("", definition)
    found = re.search(r"(?m)^    subject: CN=(\S+)", text)
    first = answers.names[0].partition(":")[2]
    if found is not None:
        text = text.replace(found[1], first)
    text = _set(text, "subject", _written(answers.subject or f"CN={first}"))
    text = _set(text, "san", f"[{', '.join(map(_written, answers.names))}]")
    text = _set(text, "authority", answers.authority)
    for key in ("key_file", "certificate_file"):
        if value := getattr(answers, key):
            text = _set(text, key, _written(value))
    return text


def name_of(definition: str) -> str:
    """The name of the keystore in a definition."""
    found = re.search(r"(?m)^keystores:\n  ([\w.-]+):", definition)
    return found[1] if found else ""


def about(definition: str) -> str:
    """The first sentence of a shipped definition: what it is for."""
    found = re.match(r"# (.*?)\.(?:\s|$)", definition)
    return found[1] if found else ""


def _set(text: str, key: str, value: str, *, drop: bool = False) -> str:
    """Give a key of an authority or keystore another value; keeps its comment."""
    line = rf"(?m)^    {key}: (?:\[[^\]\n]*\]|\{{[^}}\n]*\}}|\S+)(.*)"
    return re.sub(
        line, lambda found: f"    # {key}:" if drop else f"    {key}: {value}{found[1]}".rstrip(), text, count=1
    )


def _written(value: str) -> str:
    """A value as YAML writes it: in quotes if it would otherwise be read as something else."""
    return value if _SAFE.fullmatch(value) else json.dumps(value, ensure_ascii=False)
