"""What `certagent check` finds about an authority's CRLs: can they be fetched, and put where consumers read them?"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from msgspec.structs import replace

from certagent import certificate as facts
from certagent.cli.crl import work_for
from certagent.cli.terminal import Finding, Mark
from certagent.config.configuration import Configuration
from certagent.config.crl_files import CrlFile
from certagent.errors import CertagentError
from certagent.revocation.files import check
from certagent.revocation.refresh import try_out
from certagent.text import ends, printable
from certagent.trust import crl
from certagent.trust.authorities import Authorities, Contact


def check_crls(
    configuration: Configuration,
    files: Sequence[CrlFile],
    authorities: Authorities,
    reached: Mapping[str, Contact],
    now: datetime,
) -> Iterator[Finding]:
    """`files` are all of one authority. Nothing is fetched if the authority was not `reached`."""
    name = files[0].authority
    for file in files:
        try:
            check(file)
        except CertagentError as fault:
            yield Finding(Mark.WRONG, str(fault), fault.hint)
            continue
        place = Path(file.path) if file.apart else Path(file.path).parent
        if not os.access(place, os.W_OK | os.X_OK, effective_ids=True):
            yield Finding(Mark.WRONG, f"{place} is not writable", "run certagent as root, or give its user access")
    contact = reached.get(name)
    if contact is None:
        return
    work = work_for(configuration, name, files, authorities=authorities)
    if authorities.known(name) is None:
        work = replace(work, cas=lambda: (contact.believed.issuer, *contact.believed.chain))
    lists, errors = try_out(work)
    for each in lists:
        fresh = ends(each.next_update_utc, now) if each.next_update_utc else "without an end"
        stale = crl.is_stale(each, now)
        text = f"CRL of {printable(facts.name_text(each.issuer))}, {len(each)} revoked, {fresh}"
        hint = "the CA publishes no newer one: ask its operator" if stale else ""
        yield Finding(Mark.WRONG if stale else Mark.FINE, text, hint)
    for error in errors:
        yield Finding(Mark.WRONG, str(error), error.hint)
    if not lists and not errors:
        hint = "it is fetched after the first enrollment"
        yield Finding(Mark.FINE, f"no keystore has a certificate yet, which would say where the CRL is: {hint}")
