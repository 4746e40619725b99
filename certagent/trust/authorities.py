"""Authorities as one worker sees them: contacted once a run, trusted by the rules of `trust`, remembered on disk."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from cryptography import x509
from msgspec import Struct
from msgspec.structs import replace

from certagent import certificate as facts
from certagent.believed import file_fault
from certagent.config.authority import Authority
from certagent.config.values import Fingerprint
from certagent.errors import OUT_OF_ORDER, CertagentError, ConfigError, HttpError, TrustError, once
from certagent.scep import NEEDS_RSA, Capabilities, Client
from certagent.state_directory import StateDirectory
from certagent.trust.memory import AuthorityMemory, Known, pins
from certagent.trust.next_ca import Offer, Successor, extended, find_next
from certagent.trust.proof import is_twin
from certagent.trust.rules import Believed, believe


class News(Struct, frozen=True):
    """What a person should know about an authority. If something may be wrong, `hint` says what to do."""

    text: str
    hint: str = ""


class Contact(Struct, frozen=True):
    """An authority that was reached and is trusted."""

    client: Client
    capabilities: Capabilities
    believed: Believed
    offered: tuple[x509.Certificate, ...] = ()
    news: tuple[News, ...] = ()
    recipient_is_new: bool = False
    """Whether requests are encrypted to an RA that the previous contact did not have."""

    @property
    def recipient(self) -> bytes:
        """The certificate that requests are encrypted to, as DER; empty if only a password locks them."""
        return facts.to_der(self.believed.recipient) if self.believed.recipient is not None else b""

    def operate(self, message: bytes, first: str = "") -> bytes:
        """PKIOperation, by POST if the CA accepts it; `first`: the address that knows the transaction."""
        return self.client.pki_operation(message, post=self.capabilities.post, first=first)

    def for_rollover(self, successor: Successor) -> Contact:
        """The same server, but requests are for the next CA, and both CAs may sign."""
        later = successor.believed
        return replace(self, believed=replace(later, signers=(*later.signers, *self.believed.signers)))


class Authorities:
    """The configured authorities. An answer, good or bad, holds for the rest of the run, so that a hundred keystores do
    not wait a hundred times for one CA that is down. The same goes for what was read from disk.
    """

    def __init__(self, authorities: Mapping[str, Authority], state_dir: Path) -> None:
        self._authorities = authorities
        places = StateDirectory(state_dir).authorities
        self._memories = {name: AuthorityMemory(name, each, places / name) for name, each in authorities.items()}
        self._contacts: dict[str, Contact | CertagentError] = {}
        self._successors: dict[str, Successor | CertagentError | None] = {}

    def contact(self, name: str, now: datetime, *, remember: bool = True) -> Contact:
        """Reach an authority and check that it is trusted, or raise TransientError, TrustError, ConfigError.

        `remember` False leaves the disk as it is (`certagent check`).
        """
        return once(self._contacts, name, lambda: self._reach(name, now, remember=remember))

    def successor(self, name: str, now: datetime) -> Successor | None:
        """Ask for the next CA and check it; None if there is none yet. Raises TransientError, TrustError."""
        return once(self._successors, name, lambda: self._find_successor(name, now))

    def known(self, name: str) -> Known | None:
        """What the disk remembers, as far as it is still proven; None before the first contact, if it is about another
        URL, or if the remembered CA is no longer proven. Raises StateError.
        """
        return self._memories[name].known()

    def seen(self, name: str) -> str:
        """The signature of the CAs that this run last looked at; empty if there were none."""
        return self._memories[name].seen

    def doubt(self, name: str, believed: Believed | None = None) -> News | None:
        """What to say if the disk remembers a CA that nothing proves; None if all is well.

        `believed`: the authority that answers now. A person may have named the remembered CA's renewed certificate.
        """
        look = self._memories[name].look()
        if look.written is None or look.known is not None:
            return None
        if believed is not None and is_twin(believed.issuer, look.written.issuer):
            return None
        return News(
            f"the CA remembered for {name}, {_words(look.written.issuer)}, does not lead to the configured "
            "fingerprint or anchor: it is not used, and the certificates that it issued will be replaced",
            "the next renewal asks the CA again; check ca_file after that",
        )

    def idle_pins(self, name: str, contact: Contact) -> list[Fingerprint]:
        """The configured fingerprints that match no certificate that is offered, remembered or an anchor."""
        look = self._memories[name].look()
        every = dict.fromkeys((*contact.offered, *contact.believed.chain, *look.pins.anchors, *look.pins.remembered))
        return [
            pin
            for pin in self._authorities[name].fingerprints
            if not any(facts.fingerprint(each, pin.algorithm) == pin for each in every)
        ]

    def _reach(self, name: str, now: datetime, *, remember: bool) -> Contact:
        definition = self._authorities[name]
        if definition.https_ca_file and (fault := file_fault(Path(definition.https_ca_file))):
            raise ConfigError(f"https_ca_file {definition.https_ca_file} {fault[0]}", fault[1])
        client = Client(
            definition.urls,
            ca_identifier=definition.ca_identifier,
            timeout=definition.timeout,
            proxy=definition.proxy,
            ca_file=Path(definition.https_ca_file) if definition.https_ca_file else None,
            client_certificate=definition.client_certificate,
        )
        memory = self._memories[name]
        memory.look()  # report problems with the memory before anybody is asked
        offered = tuple(dict.fromkeys(client.get_ca_certificates()))
        try:
            believed = self._believe(name, offered, now, remember=remember)
        except TrustError as error:
            error.hint = "; ".join((error.hint, *(each.text for each in self._damages(name))))
            raise
        if believed.recipient is None and definition.key_transport != "password":
            raise TrustError(
                f"the key of {name}'s CA is not RSA, and it offers no RSA encryption certificate",
                NEEDS_RSA,
            )
        capabilities, claimed, told = self._capabilities(name, client)
        new = self._new_ras(name, believed)
        news = (*_silent(name, client), *told, *self._news(name, believed, offered, new))
        if remember:
            memory.keep(claimed, believed, now)
        return Contact(client, capabilities, believed, offered, news, believed.recipient in new)

    def _capabilities(self, name: str, client: Client) -> tuple[Capabilities, Capabilities, list[News]]:
        """The capabilities to use, those of the CA to remember, and news about them.

        If the configuration gives the capabilities, the CA is not asked.
        """
        known, said = self._memories[name].look().memory, self._authorities[name].capabilities
        before = Capabilities(frozenset(known.capabilities)) if known is not None and known.capabilities else None
        if said is not None:
            return Capabilities.configured(said), before or Capabilities(), []
        claimed = client.get_capabilities(before)
        if before is not None:
            self._refuse_downgrade(name, claimed, before)
        told = self._weakness(name, claimed)
        if claimed is before:
            told.append(
                News(f"{name} does not say what it supports (GetCACaps); certagent uses what it supported before")
            )
        return claimed, claimed, told

    def _weakness(self, name: str, capabilities: Capabilities) -> list[News]:
        """News if the CA offers nothing better than 3DES and SHA-1, unless the configuration accepts that."""
        definition, best = self._authorities[name], capabilities.algorithms()
        better = {"3des": ("AES", "3DES"), "sha1": ("SHA-256", "SHA-1")}
        weak = [each for each in (best.cipher, best.digest) if each in better and each not in definition.accept]
        if not weak:
            return []
        unsaid, taken = (" and ".join(better[each][at] for each in weak) for at in (0, 1))
        return [
            News(
                f"{name} does not announce {unsaid}; requests use {taken}",
                "if it supports them, list all that it supports, e.g. `capabilities: [aes, sha256, post, renewal]`; "
                f"if it does not, add {' and '.join(weak)} to `accept`",
            )
        ]

    def _damages(self, name: str) -> list[News]:
        """News about each part of the memory that is made again because its file cannot be read."""
        hint = (
            "only the configuration was used; if a CA that took over earlier is no longer trusted, add its fingerprint"
        )
        return [
            News(f"{fault}: certagent rebuilds what it knew about {name}", hint)
            for fault in self._memories[name].look().damaged.values()
        ]

    def _new_ras(self, name: str, believed: Believed) -> list[x509.Certificate]:
        """The RAs that the previous contact did not have; none at the first contact."""
        known = self.known(name)
        if known is None or known.memory.ras is None:
            return []
        return [ra for ra in believed.ras if str(facts.fingerprint(ra)) not in known.memory.ras]

    def _news(
        self, name: str, believed: Believed, offered: tuple[x509.Certificate, ...], new: list[x509.Certificate]
    ) -> tuple[News, ...]:
        news, known = self._damages(name), self.known(name)
        if doubt := self.doubt(name, believed):
            news.append(doubt)
        for ra in new:
            hint = "an RA can read every challenge: if nobody announced it, ask the CA's operator"
            news.append(News(f"{name} has a new RA: {_words(ra)}", hint))
        for word, certificate in believed.passed_over:
            stands = believed.recipient if word == "recipient" else None
            instead = f"; requests are encrypted to {_words(stands)}" if stands else ""
            text = (
                f"`{word}` names {_words(certificate)}, which {name} no longer offers as an RA; it is ignored{instead}"
            )
            news.append(News(text, f"name the CA's present RA, or remove `{word}`"))
        if known is not None:
            there = {str(facts.fingerprint(each)) for each in offered}
            named = {str(each) for each in self._authorities[name].fingerprints} - there
            for gone in sorted(named.intersection(known.memory.ras or ())):
                text = f"{name} no longer offers the RA that `fingerprint` names, {gone}"
                news.append(News(text, "remove that fingerprint; ask the CA's operator for the new one"))
            if is_twin(believed.issuer, known.issuer):
                end = f"{believed.issuer.not_valid_after_utc:%F %T} UTC"
                news.append(News(f"{name} has renewed its CA certificate with the same key, until {end}"))
        return tuple(news)

    def _believe(self, name: str, offered: tuple[x509.Certificate, ...], now: datetime, *, remember: bool) -> Believed:
        """Decide what to trust; also a CA that took over before it was ever seen as the next one, if it has a proof."""
        look = self._memories[name].look()
        try:
            believed = believe(offered, look.pins, now)
        except TrustError as refusal:
            try:
                followed = self._followed(name, offered, now, remember=remember)
            except TrustError as error:
                raise TrustError(str(refusal), error.hint) from None
            if followed is None:
                raise
            return followed
        if look.known is None:
            with suppress(TrustError):  # a remembered CA that is no longer proven may be proven in another way
                return self._followed(name, offered, now, remember=remember) or believed
        return believed

    def _followed(
        self, name: str, offered: tuple[x509.Certificate, ...], now: datetime, *, remember: bool
    ) -> Believed | None:
        """A successor, among what is offered, of the last CA that is proven; None if there is none."""
        memory, definition = self._memories[name], self._authorities[name]
        look = memory.look()
        if look.written is None or look.before is None:
            return None
        successor = find_next(Offer(offered), look.before, look.pins, definition.next_fingerprints, now)
        if successor is None:
            return None
        change, written = successor.change(look.before.issuer), look.written
        if remember:
            memory.keep_successor(look.before.issuer, successor, now)
        seen = (*written.chain, *successor.believed.chain, *written.old, *written.first)
        return believe(offered, extended(pins(definition), (*written.memory.changes, change), seen), now)

    def _refuse_downgrade(self, name: str, now: Capabilities, before: Capabilities) -> None:
        lost = now.lost(before)
        if lost:
            raise TrustError(
                f"authority {name} no longer offers {', '.join(sorted(lost))}, which it did before",
                f"somebody may be trying to weaken the exchange; if the CA really changed, remove "
                f"{self._memories[name].directory / 'authority.json'}",
            )

    def _find_successor(self, name: str, now: datetime) -> Successor | None:
        definition, contact = self._authorities[name], self.contact(name, now)
        memory, accept = self._memories[name], frozenset(definition.accept)
        offer = Offer(contact.offered)
        if contact.capabilities.next_ca:
            try:
                found = contact.client.get_next_ca_certificates(signers=contact.believed.signers, accept=accept)
                offer = Offer(found.certificates, found.signed_by)
            except HttpError as error:
                if error.status in OUT_OF_ORDER:
                    raise
                return None  # how a CA says that it has no next one: 403, 404, 500 … differ by product
        named = definition.next_fingerprints
        successor = find_next(offer, contact.believed, memory.look().pins, named, now)
        if successor is not None:
            memory.keep_successor(contact.believed.issuer, successor, now)
        return successor


def _silent(name: str, client: Client) -> list[News]:
    """News about addresses that did not answer, so that another one had to."""
    addresses = client.addresses
    instead = f"{addresses.answered} answers for {name} instead"
    return [News(f"{error}: {instead}", error.hint) for error in addresses.passed_over]


def _words(certificate: x509.Certificate) -> str:
    return f"{facts.subject_text(certificate)} ({facts.fingerprint(certificate)})"
