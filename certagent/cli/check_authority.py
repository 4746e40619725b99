"""`certagent check` for one authority: who answers, whether it is trusted, and which CA comes next."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from urllib.parse import urlsplit

from certagent import certificate as facts
from certagent import policy
from certagent.cli.check_findings import capability_words
from certagent.cli.check_secrets import Secrets
from certagent.cli.known_cas import known_ca
from certagent.cli.terminal import Finding, Mark
from certagent.config.authority import Authority
from certagent.errors import CertagentError
from certagent.text import ahead, date, ends, span, when
from certagent.trust.authorities import Authorities, Contact
from certagent.trust.memory import Known, pins

Findings = Iterator[Finding]

_CONTACT_FILES = (
    "trust_anchor",
    "recipient",
    "signer",
    "https_ca_file",
    "https_client_certificate",
    "https_client_key",
)
_EXAMPLE = "scep.example.net"


def about_authority(
    name: str,
    authority: Authority,
    authorities: Authorities | None,
    *,
    reached: dict[str, Contact],
    secrets: Secrets,
    now: datetime,
) -> Findings:
    """One authority; if `authorities` is None, it is not contacted. If it answers and is trusted, it is added to
    `reached`."""
    yield from _on_this_host(name, authority, secrets)
    if any(secrets.is_lacking(f"authorities.{name}.{word}") for word in _CONTACT_FILES):
        yield Finding(Mark.WARNING, f"{name} was not contacted", "first correct its files, see above")
        return
    if unedited := list(_unedited(authority)):
        yield from unedited
        return
    if authorities is None:
        pins(authority)
        yield Finding(Mark.FINE, f"{', '.join(authority.urls)} was not contacted")
        yield from _recipe(authority, None)
        return
    try:
        contact = reached[name] = authorities.contact(name, now, remember=False)
    finally:
        doubt = authorities.doubt(name, reached[name].believed if name in reached else None)
        if doubt:
            yield Finding(Mark.WRONG, doubt.text, doubt.hint)
        yield from _recipe(authority, reached.get(name))
    yield _answer(authority, contact, now)
    yield from _other_addresses(contact)
    for each in contact.news:
        if each != doubt:
            yield Finding(Mark.WARNING if each.hint else Mark.FINE, each.text, each.hint)
    for pin in authorities.idle_pins(name, contact):
        hint = "if no RA or CA of this authority has it any longer, remove it"
        yield Finding(Mark.WARNING, f"`fingerprint` names {pin}, which {name} does not offer", hint)
    yield from _next_ca(name, authority, contact, authorities.known(name), now)


def _on_this_host(name: str, authority: Authority, secrets: Secrets) -> Findings:
    if authority.accept:
        words = ", ".join(authority.accept)
        yield Finding(Mark.WARNING, f"replies protected with {words} are accepted", "remove what the CA does not need")
    yield from secrets.findings(f"the challenge of {name}", authority.challenge, f"authorities.{name}.challenge")


def _answer(authority: Authority, contact: Contact, now: datetime) -> Finding:
    issuer = contact.believed.issuer
    renewal = ", RenewalReq" if contact.capabilities.renewal else ""
    said = "" if authority.capabilities is None else ", as `capabilities` says"
    behind = " behind an RA" if contact.believed.ras else ""
    return Finding(
        Mark.FINE,
        f"{contact.client.addresses.answered} answers: {facts.subject_text(issuer)}{behind}, "
        f"valid {ends(issuer.not_valid_after_utc, now)}; "
        f"{capability_words(contact.capabilities)}{renewal}{said}",
    )


def _unedited(authority: Authority) -> Findings:
    """Values that are still as in agent.yaml.example."""
    if not authority.trust_anchors and any(not any(each.digest) for each in authority.fingerprints):
        hint = "write what `openssl x509 -noout -fingerprint -sha256 -in ca.pem` prints for your CA"
        yield Finding(Mark.WRONG, "`fingerprint` is still the example's zeros", hint)
    for url in authority.urls:
        if urlsplit(url).hostname == _EXAMPLE:
            yield Finding(Mark.WRONG, f"{url} is still the example's address", "write the SCEP address of your CA")


def _recipe(authority: Authority, contact: Contact | None) -> Findings:
    """Which part of docs/cas.md to read, if it looks like one of the CAs described there."""
    addresses = contact.client.addresses if contact else None
    url = addresses.answered if addresses else authority.urls[0]
    name = known_ca(url, contact.capabilities if contact else None, addresses.server if addresses else "")
    if name:
        anchor = name.lower().replace(" ", "-")
        yield Finding(Mark.FINE, f"its address is that of {name}: docs/cas.md#{anchor} says what that CA requires")


def _other_addresses(contact: Contact) -> Findings:
    """Whether the addresses that are not used while the first one answers could replace it."""
    for url, found in contact.client.look_at_others():
        if isinstance(found, CertagentError):
            yield Finding(Mark.WARNING, f"{url} cannot take over: {found}", found.hint)
        elif contact.believed.issuer not in found:
            hint = "all addresses of an authority must lead to one CA: make that one a separate authority"
            yield Finding(Mark.WRONG, f"{url} offers another CA", hint)
        else:
            yield Finding(Mark.FINE, f"{url} answers too")


def _next_ca(name: str, authority: Authority, contact: Contact, known: Known | None, now: datetime) -> Findings:
    """The next CA, as far as it is known without asking for one."""
    issuer = contact.believed.issuer
    if known is not None and known.issuer == issuer and known.next_chain:
        following = known.next_chain[0]
        takes_over = f"takes over {when(following.not_valid_before_utc, now)}"
        yield Finding(Mark.FINE, f"its next CA is {facts.subject_text(following)}, and {takes_over}")
        return
    lifetime = policy.Lifetime.of(issuer)
    begins = policy.window_begins(lifetime, authority.rollover_at)
    if begins > now:
        yield Finding(Mark.FINE, f"will be asked for its next CA from {date(begins, now)} on ({ahead(begins, now)})")
    else:
        left = span(lifetime.remaining(now))
        needs = "the CA has no GetNextCACert, so set next_fingerprint or trust_anchor for the next one"
        silent = "" if contact.capabilities.next_ca else f"; {needs}"
        hint = f"certagent asks the CA for it; ask the operator of {name} too{silent}"
        yield Finding(Mark.WARNING, f"its CA expires in {left}, and no next one is known yet", hint)
