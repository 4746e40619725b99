"""What would happen to a keystore next, in plain words, and what the user may not have meant that way. Pure."""

from __future__ import annotations

import ipaddress
import shlex
from collections import Counter
from collections.abc import Iterator
from datetime import datetime

from cryptography import x509
from msgspec import Struct

from certagent import certificate as facts
from certagent.cli.terminal import EARLY_HINT, EXPOSED_HINT, PACE_HINT, Finding, Mark
from certagent.config.authority import Authority
from certagent.config.keystores import KeystoreDefinition
from certagent.config.parts import HookCommand, Probe
from certagent.config.programs import own_path_fault
from certagent.keys import family_of
from certagent.policy import Action
from certagent.scep import Capabilities, MessageType
from certagent.status.snapshot import InPlace, Snapshot
from certagent.text import ahead, date, ends, span, when
from certagent.transaction.journal import Phase
from certagent.transaction.ladder import Named, Rung, renews_with
from certagent.transaction.next_step import at_once
from certagent.transaction.planned_request import PlannedRequest, plan_request
from certagent.transaction.request import is_foreign
from certagent.trust.authorities import Contact
from certagent.trust.proof import comes_from

_CIPHERS = {"aes128-cbc": "AES", "3des": "3DES"}
_MESSAGES = {MessageType.PKCS_REQ: "PKCSReq", MessageType.RENEWAL_REQ: "RenewalReq"}
_DIGESTS = {"sha256": "SHA-256", "sha512": "SHA-512", "sha1": "SHA-1"}
_STANDS = {
    Phase.REQUESTED: "a request was sent, and the answer is outstanding",
    Phase.ISSUED: "a new certificate was issued, but is not in place yet",
    Phase.ACTIVATED: "the new certificate is in place, but its post hooks have yet to run",
    Phase.REVERTED: "the old pair is back in place, but its post hooks have yet to run",
}


class Seen(Struct, frozen=True):
    """A keystore as `check` found it. If `contact` is None, its authority was not, or could not be, contacted.

    `introduced_by`: the factory certificate that can sign requests, if there is one.
    """

    definition: KeystoreDefinition
    authority: Authority
    snapshot: Snapshot
    certificate: x509.Certificate | None
    contact: Contact | None
    introduced_by: x509.Certificate | None = None


def capability_words(capabilities: Capabilities) -> str:
    """The algorithms and method of a request to this CA: `AES, SHA-256, POST`."""
    algorithms = capabilities.algorithms()
    way = "POST" if capabilities.post else "GET"
    return f"{_CIPHERS[algorithms.cipher]}, {_DIGESTS[algorithms.digest]}, {way}"


def little_memory(megabytes: int, workers: int) -> Iterator[Finding]:
    """A warning if the agent and so many workers at once leave too little of the host's memory for anything else."""
    if workers > 1 and megabytes < _SYSTEM + workers * _WORKER:
        need = workers * _WORKER
        text = f"this host has {megabytes} MB of memory, and {workers} workers at once may need {need} of them"
        yield Finding(Mark.WARNING, text, "set `max_workers: 1`: what is due then takes longer, and needs less")


# MB: the rest of a small router with the agent (19); a worker that renews, with what it does not share.
_SYSTEM, _WORKER = 80, 40


def in_place(certificate: InPlace, now: datetime) -> Finding:
    """The certificate in place, known to match its key."""
    lifetime = certificate.lifetime
    what = f"{certificate.subject}: {certificate.key}, key and certificate match"
    end = ends(lifetime.not_after, now)
    if lifetime.not_after <= now:
        return Finding(Mark.WRONG, f"{what}, {end}", "if the CA still renews it, run `certagent renew`")
    if lifetime.not_before > now:
        return Finding(Mark.WRONG, f"{what}, not valid before {date(lifetime.not_before, now)}", EARLY_HINT)
    return Finding(Mark.FINE, f"{what}, valid {end}")


def next_step(seen: Seen, now: datetime) -> Finding:
    """What happens next, and when."""
    it, coming = seen.snapshot, seen.snapshot.assessment
    if coming.action is None or coming.at is None:
        hint = (
            "" if seen.certificate else "set `subject` or `san` in its definition, or put key and certificate in place"
        )
        return Finding(Mark.WRONG, coming.reason, hint)
    at = when(coming.at, now)
    if coming.waits:
        return Finding(Mark.FINE, f"{coming.reason}, {ahead(coming.at, now)}", at_once(it.name))
    return (_next_rollover_step if coming.of_rollover else _next_identity_step)(seen, coming.action, at)


def _next_identity_step(seen: Seen, action: Action, at: str) -> Finding:
    it = seen.snapshot
    match action:
        case Action.POLL:
            identifier = it.transaction.transaction_id if it.transaction else ""
            return Finding(
                Mark.WARNING,
                f"the CA has not decided yet; certagent asks again {at}",
                f"ask the CA to approve request {identifier}",
            )
        case Action.RESUME | Action.HOOKS:
            phase = it.transaction.phase if it.transaction else Phase.STARTED
            if phase is Phase.STARTED:
                return Finding(Mark.FINE, f"starts again {at}: {walk(seen)}")
            stands = _STANDS.get(phase, "a swap of its files was interrupted")
            return Finding(Mark.WARNING, f"{stands}; continues {at}", f"`certagent renew {it.name}` does it at once")
        case _:
            return Finding(Mark.FINE, f"{action}s {at}: {walk(seen)}")


def _next_rollover_step(seen: Seen, action: Action, at: str) -> Finding:
    authority = seen.definition.authority
    match action:
        case Action.POLL:
            return Finding(
                Mark.WARNING,
                f"the next CA of {authority} has not decided about the shadow yet; certagent asks again {at}",
                "ask that CA to approve the newest request for this subject",
            )
        case Action.RESUME:
            return Finding(Mark.FINE, f"a shadow under the next CA of {authority} is being prepared; continues {at}")
        case Action.SWITCH:
            return Finding(Mark.FINE, f"the next CA of {authority} takes over {at}: {_switch(seen)}")
        case _:
            return Finding(Mark.FINE, f"asks {authority} for its next CA {at}, and for a shadow under it")


def _switch(seen: Seen) -> str:
    hooks = "".join(f", then {_words(command)}" for command in seen.definition.hooks.commands("post"))
    return f"the shadow takes over, {_swap(seen.definition)}{hooks}"


def _swap(definition: KeystoreDefinition) -> str:
    return "written in place" if definition.swap == "in-place" else f"swap by {definition.swap or 'rename'}"


def misnamed(definition: KeystoreDefinition) -> Iterator[Finding]:
    """Names that are listed twice, or under a kind that no consumer checks."""
    for name, times in Counter(definition.san).items():
        if times > 1:
            yield Finding(Mark.WARNING, f"san has {name} {times} times", "remove all but one")
        if name.kind == "dns" and _is_address(name.value):
            hint = f"write ip:{name.value}; TLS matches addresses only with ip: names"
            yield Finding(Mark.WARNING, f"san asks for {name}, which is an IP address", hint)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def rollover(seen: Seen, now: datetime) -> Iterator[Finding]:
    """What is prepared for a rollover, and what is missing."""
    it, found = seen.snapshot, seen.snapshot.rollover
    if found is None:
        return
    if found.next_ca is not None and found.shadow is not None and found.switch_at is not None:
        if it.assessment.action is not Action.SWITCH:
            takes_over = f"takes over {when(found.switch_at, now)}"
            yield Finding(Mark.FINE, f"a shadow under {found.next_ca.subject} is ready, and {takes_over}")
    elif found.late(now) and not it.situation.failures:
        left = span(found.ca.lifetime.remaining(now)) if found.ca else ""
        yield Finding(
            Mark.WARNING, f"its CA expires in {left}, and no next one is known", "ask the CA's operator for it"
        )


def walk(seen: Seen) -> str:
    """One enrollment or renewal as it would go, step after step."""
    definition = seen.definition
    request = planned(seen)
    capabilities = seen.contact.capabilities if seen.contact else None
    how = f" ({capability_words(capabilities)})" if capabilities else ""
    steps = [
        "the same key" if request.keeps_key else f"new {request.key} key",
        f"{request_words(seen, request)}, to {definition.authority}{how}",
        *(f"{_words(command)} may veto" for command in definition.hooks.commands("pre")),
        f"{_swap(definition)}{_hours(seen)}",
        *(f"then {_words(command)}" for command in definition.hooks.commands("post")),
    ]
    if definition.probe is not None:
        steps.append(_look(definition.probe))
    return ", ".join(steps)


def _look(probe: Probe) -> str:
    if probe.run is not None:
        return f"then {shlex.join(probe.run)} checks whether the consumer has it"
    return f"then checks whether {probe.tls} serves it"


def _words(command: HookCommand) -> str:
    run = shlex.join(command.run)
    return run if command.only_if is None else f"{run} (if {shlex.join(command.only_if)} succeeds)"


def _hours(seen: Seen) -> str:
    """The time window; a first certificate does not wait."""
    windows = seen.definition.activate_in if seen.certificate is not None else ()
    return f" in {' or '.join(map(str, windows))}" if windows else ""


def planned(seen: Seen) -> PlannedRequest:
    """The request that would be made now."""
    capabilities = seen.contact.capabilities if seen.contact else None
    identity = seen.snapshot.certificate.key if seen.snapshot.certificate else None
    factory = seen.introduced_by if _introduces(seen, identity) else None
    foreign = factory is not None and seen.contact is not None and is_foreign(factory, seen.contact.believed.chain)
    introduces = factory is not None
    return plan_request(seen.definition, seen.authority, capabilities, identity, introduces=introduces, plain=foreign)


def _introduces(seen: Seen, key: str | None) -> bool:
    """Whether the factory identity signs the request of a keystore with this type of key; None: with no certificate."""
    named = Named(seen.introduced_by is not None, seen.authority.challenge is not None)
    return named.introduction and (key is None or renews_with(key, seen.authority, named) is Rung.INTRODUCTION)


def request_words(seen: Seen, request: PlannedRequest) -> str:
    """Which message, who signs it, and whether it contains the challenge password."""
    definition = seen.definition
    message = "request" if request.message is None else _MESSAGES[request.message]
    first = seen.snapshot.certificate is None
    whom = f" for {', '.join(map(str, filter(None, [definition.subject, *definition.san])))}" if first else ""
    challenge = " and the challenge password" if request.challenge else ""
    return f"{message}{whom} signed with {request.signed_by}{challenge}"


def warnings(seen: Seen, now: datetime) -> Iterator[Finding]:
    """What is allowed, but may not be what the user meant."""
    it = seen.snapshot
    if it.last_error is not None:
        ago = span(now - it.last_error.at)
        yield Finding(Mark.WARNING, f"the last attempt failed {ago} ago: {it.last_error.message}", it.last_error.hint)
    if it.renew_at_note:
        yield Finding(Mark.WARNING, it.renew_at_note, "write renew_at as a share, e.g. 66%, or as a shorter time")
    for note in it.pace_notes:
        yield Finding(Mark.WARNING, note, PACE_HINT)
    for note in it.exposed:
        yield Finding(Mark.WARNING, note, EXPOSED_HINT)
    yield from _program_warnings(seen)
    yield from _challenge_warnings(seen)
    if seen.certificate is not None:
        yield from _name_warnings(seen, seen.certificate)
        if lost := [lack.word for lack in it.lacks if lack.kind != "san"]:
            hint = (
                f"if the CA grants it now, `certagent enroll --force {it.name}` asks for it; otherwise remove it here"
            )
            yield Finding(Mark.WARNING, f"the certificate in place lacks {', '.join(lost)}, which is configured", hint)
        yield from _issuer_warnings(seen, seen.certificate)


def _program_warnings(seen: Seen) -> Iterator[Finding]:
    """Programs of hooks that the service may not find."""
    hooks, probe = seen.definition.hooks, seen.definition.probe
    commands = [command for event in hooks.__struct_fields__ for command in hooks.commands(event)]
    programs = [argv[0] for each in commands for argv in (each.run, each.only_if) if argv]
    programs += [probe.run[0]] if probe is not None and probe.run else []
    for program in dict.fromkeys(programs):
        if fault := own_path_fault(program):
            yield Finding(Mark.WARNING, *fault)


def _challenge_warnings(seen: Seen) -> Iterator[Finding]:
    it, definition = seen.snapshot, seen.definition
    if seen.authority.challenge is not None:
        return
    name = definition.authority
    hint = f"set `challenge` for authority {name}, unless somebody approves its requests by hand"
    if it.certificate is None:
        if definition.says_whom and seen.introduced_by is None:
            yield Finding(Mark.WARNING, f"authority {name} has no challenge for the first enrollment", hint)
        return
    request = planned(seen)
    introduces = _introduces(seen, request.key)
    following = plan_request(definition, seen.authority, None, request.key, introduces=introduces)
    if not (request.signed_by.authenticates and following.signed_by.authenticates):
        kind = following.key if request.signed_by.authenticates else it.certificate.key
        what = f"an {family_of(kind)} key cannot sign a renewal over SCEP, so the challenge has to authenticate it"
        yield Finding(Mark.WARNING, f"{what}, and authority {name} has none", hint)


def _name_warnings(seen: Seen, certificate: x509.Certificate) -> Iterator[Finding]:
    """A renewal keeps the names in place. Raises ConfigError for names that cannot be understood."""
    definition = seen.definition
    hint = (
        f"a renewal keeps what is in place; `certagent enroll --force {seen.snapshot.name}` requests the configured one"
    )
    if definition.subject is not None and facts.parse_subject(definition.subject) != certificate.subject:
        found = facts.subject_text(certificate)
        yield Finding(Mark.WARNING, f"subject is {definition.subject}, but the certificate in place has {found}", hint)
    wanted = facts.alternative_names(facts.general_names(definition.san))
    found_names = facts.alternative_names(certificate)
    if definition.san and wanted != found_names:
        missing, more = facts.names_text(wanted - found_names), facts.names_text(found_names - wanted)
        parts = [f"lacks {missing}" if missing else "", f"also has {more}" if more else ""]
        yield Finding(Mark.WARNING, f"san: the certificate in place {' and '.join(filter(None, parts))}", hint)


def _issuer_warnings(seen: Seen, certificate: x509.Certificate) -> Iterator[Finding]:
    if seen.contact is None or any(comes_from(certificate, ca) for ca in seen.contact.believed.chain):
        return
    yield Finding(
        Mark.WARNING,
        f"the certificate in place was not issued by the CA of {seen.definition.authority}",
        f"if it refuses the renewal, run `certagent enroll --force {seen.snapshot.name}`",
    )
