"""What `check` says about a token: how the key in use was made, and which objects nothing accounts for."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from certagent.keystore.base import Remark
from certagent.keystore.token import objects
from certagent.keystore.token.keys import load
from certagent.keystore.token.session import Token


def remarks_on(token: Token, key_id: bytes, label: str, own_keys: Collection[bytes]) -> list[Remark]:
    """`key_id` is the key in use (empty if there is none); `own_keys` are the IDs of all keys this keystore made."""
    remarks = []
    if key_id and load(token, key_id) is not None:
        said = token.use("read attributes", lambda session: objects.proof(session, key_id))
        remarks.append(_how_made(said, str(token)))
    labelled = token.use("look for labels", lambda session: objects.labelled(session, label))
    for unknown in sorted(labelled - {*own_keys, key_id}):
        what = f"objects labelled {label!r} with the ID {unknown.hex() or '(none)'}"
        hint = (
            "they belong to another host or an earlier installation; certagent leaves them alone; remove "
            "them if nobody uses them"
        )
        remarks.append(Remark(f"{token} holds {what}, which this host does not know", hint))
    if token.use("look for unfinished objects", objects.unfinished):
        hint = "left behind by a program that was killed; the next renewal removes them if they are certagent's"
        remarks.append(Remark(f"{token} holds unfinished objects", hint))
    return remarks


def _how_made(said: Mapping[str, bool | None], token: str) -> Remark:
    """What the token says about the key: how it was made, and whether it could ever leave."""
    good = {"sensitive": True, "extractable": False, "always_sensitive": True, "never_extractable": True, "local": True}
    wrong = [word for word, wanted in good.items() if said[word] is not None and said[word] is not wanted]
    silent = [word for word in good if said[word] is None]
    words = ", ".join(
        word.replace("_", "-") for word in ("sensitive", "always_sensitive", "never_extractable", "local") if said[word]
    )
    if wrong:
        not_so = ", ".join(f"{word.replace('_', '-')} {said[word]}".lower() for word in wrong)
        return Remark(
            f"the key in {token} may have been exported: {not_so}",
            "`certagent renew --force` makes one that cannot leave it",
        )
    unsaid = f"; the token does not tell {', '.join(silent)}".replace("_", "-") if silent else ""
    return Remark(f"the key was made in {token} and cannot leave it: {words}{unsaid}")
