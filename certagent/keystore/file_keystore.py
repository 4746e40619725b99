"""What all drivers share: shadows and previous/ in the state directory, and the files that a swap replaces."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import Generic, TypeVar

from cryptography import x509

from certagent import durable, owned
from certagent.believed import directory_fault
from certagent.certificate import to_pem
from certagent.config.file_roles import FileRole
from certagent.config.keystores import KeystoreDefinition
from certagent.config.parts import Secret
from certagent.config.values import Mode
from certagent.directories import Look
from certagent.durable import Ownership
from certagent.errors import KeystoreError
from certagent.keys import PrivateKey
from certagent.keystore import obstacles, swap_plan
from certagent.keystore.base import Identity, Keystore, Remark, Shadow, prove_pair
from certagent.keystore.ca_directory import A_NAME, CaDirectory
from certagent.keystore.files import (
    explained,
    gives_away,
    goes_back,
    look_at,
    ownership,
    ownership_of_copy,
    read_file,
    resolve,
)
from certagent.keystore.targets import sha256
from certagent.mounts import Mounts
from certagent.state_directory import KeystoreDirectory

ReadSecret = Callable[[Secret], bytes]
Found = Mapping[FileRole, Look | None]
"""The files in place, by one look at each."""
Definition = TypeVar("Definition", bound=KeystoreDefinition)


class FileKeystore(Keystore, Generic[Definition]):
    """A keystore whose swap replaces files, those of `definition.paths`. Shadows are directories `shadow/ID`.

    A driver adds how an identity is read from such files, what they are to hold, and how a shadow is made.
    """

    def __init__(
        self,
        name: str,
        definition: Definition,
        *,
        directory: Path,
        live: Path,
        read_secret: ReadSecret,
    ) -> None:
        self.name = name
        self._definition = definition
        self._paths: Mapping[FileRole, Path] = definition.paths
        self._shadows = KeystoreDirectory(directory).shadows
        self._previous = KeystoreDirectory(directory).previous
        self._live = live
        self._cas = CaDirectory.of(definition) if definition.ca_directory else None
        self._read_secret = read_secret

    @abstractmethod
    def _identity(self, paths: Mapping[FileRole, Path]) -> Identity | None:
        """The identity in these files; None if there is none. Raises KeystoreError, as `read` does."""

    @abstractmethod
    def _contents(
        self, shadow: Shadow, certificate: x509.Certificate, trusted: tuple[x509.Certificate, ...], found: Found
    ) -> dict[FileRole, bytes]:
        """What each file is to hold once `shadow` is active, instead of what was found.

        Empty, or a role without a path: no such file.
        """

    def _check_contents(self, contents: Mapping[FileRole, bytes], certificate: x509.Certificate) -> None:
        """Read the files of a new identity once more as consumers will, before any is written. KeystoreError."""

    def _keeps(self, found: Found) -> frozenset[FileRole]:
        """The files that go on holding a part of what was found in them."""
        return frozenset()

    @abstractmethod
    def _key_place(self, shadow_id: str) -> str:
        """Where the key of a shadow is, for errors."""

    def read(self) -> Identity | None:
        return self._identity(self._paths)

    def plan_activation(self, shadow: Shadow, trusted: tuple[x509.Certificate, ...]) -> swap_plan.Plan:
        if shadow.certificate is None:
            raise KeystoreError(f"the shadow {shadow.id} of {self.name} has no certificate yet", "wait for the CA")
        prove_pair(shadow.key, shadow.certificate, self._key_place(shadow.id))
        found = self._look()
        contents = self._contents(shadow, shadow.certificate, trusted, found)
        self._check_contents(contents, shadow.certificate)
        wanted = {role: content for role, content in contents.items() if content and role in self._paths}
        return self._plan(shadow.id, wanted, found, cas=self._cas.plan(trusted) if self._cas and trusted else ())

    def forget_previous(self) -> None:
        with explained(f"remove {self._previous}"):
            durable.remove(self._previous)

    def previous_certificate(self) -> x509.Certificate | None:
        identity = self._identity({role: self._kept(role) for role in self._paths})
        return identity.certificate if identity is not None else None

    def lost_what_links_lead_to(self) -> bool:
        return self._definition.swap == "symlink" and any(
            swap_plan.leads_to(path).startswith(f"{self._live}/") and not path.exists()
            for role, path in self._paths.items()
            if role is not FileRole.CA
        )

    def plan_rollback(self, rollback_id: str) -> swap_plan.Plan | None:
        kept = {role: self._kept(role) for role in self._paths}
        if self._identity(kept) is None:
            return None
        found = {role: look for role, path in kept.items() if (look := look_at(path)) is not None}
        plan = self._plan(rollback_id, {role: look.content for role, look in found.items()}, self._look())
        shown = [
            file.role for file in plan.files if file.role in found and not goes_back(found[file.role], file.ownership)
        ]
        return None if shown else plan

    def _kept(self, role: FileRole) -> Path:
        """The file of the old identity."""
        return self._previous / role.kept_name

    def sweep_shadows(self, keep: Collection[str]) -> None:
        with explained(f"sweep {self._shadows}"):
            for other in self._shadows.glob("*"):
                if other.name not in keep:
                    durable.remove(other)

    def plan_trust(self, swap_id: str, trusted: tuple[x509.Certificate, ...]) -> swap_plan.Plan | None:
        ca_file = self._definition.ca_file
        if not trusted:
            return None
        stays = ca_file is None or self._content(Path(ca_file)) == to_pem(trusted)
        cas = self._cas.plan(trusted) if self._cas else ()
        if stays and not cas:
            return None
        wanted = {} if stays else {FileRole.CA: to_pem(trusted)}
        found = self._look() if self._definition.swap == "symlink" else self._look(*wanted) if wanted else {}
        # The old identity is still to be found in previous/.
        return self._plan(swap_id, wanted, found, self._previous.with_name("previous-ca"), cas)

    def plan_adjustment(
        self, swap_id: str, trusted: tuple[x509.Certificate, ...], *, placed: bool
    ) -> swap_plan.Plan | None:
        wanted = self._lost()
        if not placed and not wanted:  # as nearly always: nothing is read for it
            return None
        found = self._look()
        if placed:
            others = {role: look for role, look in found.items() if look is not None and self._is_anothers(role, look)}
            same = {role: look.content for role, look in others.items()} | self._changed(trusted, found)
            wanted = {role: content for role, content in same.items() if not self._gives_away(role, found)} | wanted
        if not wanted:
            return None
        return self._plan(swap_id, wanted, found, self._previous.with_name("previous-ca"))

    def _lost(self) -> dict[FileRole, bytes]:
        """What is gone and can be made again from what is left. Raises KeystoreError."""
        return {}

    def _changed(self, trusted: tuple[x509.Certificate, ...], found: Found) -> dict[FileRole, bytes]:
        """What the definition says of the contents, and the files do not show. Raises KeystoreError."""
        return {}

    def _is_anothers(self, role: FileRole, look: Look) -> bool:
        """Whether owner, group or mode are configured, and others. An access list has a say in what the mode shows."""
        defined, there, status = self._definition, self._ownership(role, look), look.status
        if role is FileRole.CA or any("acl" in name for name in look.attributes):
            return False
        return (
            (defined.owner is not None and there.uid != status.st_uid)
            or (defined.group is not None and there.gid != status.st_gid)
            or (defined.mode is not None and role.private and there.mode != status.st_mode & 0o777)
        )

    def _gives_away(self, role: FileRole, found: Found) -> bool:
        """Whether people would get what they could not read, and can have moved there: it waits for a new pair."""
        look = found[role]
        return look is not None and gives_away(look, self._ownership(role, look))

    def check_targets(self) -> None:
        if fault := obstacles.lack_of_room(self._shadows.parent):
            raise fault
        for role, found in self._look().items():
            if found is not None and role in (FileRole.CA, FileRole.CHAIN) and b"PRIVATE KEY-----" in found.content:
                hint = f"correct `{role}_file`, or move the key away"
                raise KeystoreError(f"{found.path} holds a private key, which would be overwritten", hint)
            owner, group = self._definition.owner, self._definition.group
            self._check_holder(found, ownership(found, owner=owner, group=group, mode=None, default=0o600))
            self.check_target(self._paths[role], found)
        if self._cas:
            self.check_target(self._cas.path / A_NAME, None)
        self._check_live()

    def keeps_inode(self, found: Look | None) -> bool:
        return self._inode_of(found) is not None

    def check_target(self, path: Path, found: Look | None) -> None:
        target, over = resolve(path, self._live), self.keeps_inode(found)
        beside = f"{swap_plan.beside(target, '0' * 32).name}.old"
        points = {mount.point for mount in self._mounts.own}
        if fault := obstacles.find(target, over=over, beside=beside, mounts=points):
            raise fault

    def exposed(self) -> tuple[str, ...]:
        found = [self._look(role).get(role) for role in self._paths if role.private]
        return tuple(
            f"{look.path} holds the private key and can be read by everybody on the host (mode "
            f"{look.status.st_mode & 0o777:04o})"
            for look in found
            if look is not None and look.status.st_mode & 0o007 and self._holds_key(look.content)
        )

    def _check_live(self) -> None:
        """Whether nobody else can exchange what consumers are led to. Raises KeystoreError."""
        if self._definition.swap == "symlink" and (fault := directory_fault(self._live)):
            raise KeystoreError(f"live_dir is not trusted: {fault[0]}", fault[1])

    def watched(self) -> tuple[Path, ...]:
        # Of the directory a change shows itself: what was added, removed, or put in another's place.
        return (*self._paths.values(), *((self._cas.path, *self._cas.own_files()) if self._cas else ()))

    def remarks(self) -> list[Remark]:
        if not self.lost_what_links_lead_to():
            return []
        kept = self.previous_certificate()
        what = f"the links of {self.name} point to {self._live}, which is gone"
        if kept is None:
            return [
                Remark(
                    what, f"restore it from a backup, or make a new pair with `certagent enroll --force {self.name}`"
                )
            ]
        until = f"{kept.not_valid_after_utc:%Y-%m-%d}"
        return [Remark(what, f"`certagent renew {self.name}` brings back the previous pair, valid until {until}")]

    def _key_in_place(self) -> PrivateKey:
        identity = self.read()
        if identity is None:
            raise KeystoreError(f"keystore {self.name} has no key to keep", "set `rekey: always`")
        return identity.key

    def _holds_key(self, content: bytes) -> bool:
        """Whether what was found in a private file's place is a private file."""
        return b"PRIVATE KEY-----" in content

    def _look(self, *roles: FileRole) -> Found:
        """One look at each file, or at those of these roles: what it holds, and whose it is."""
        return {role: look_at(self._paths[role], self._live) for role in roles or self._paths}

    def _plan(
        self,
        swap_id: str,
        contents: Mapping[FileRole, bytes],
        found: Found,
        previous: Path | None = None,
        cas: tuple[swap_plan.NewFile, ...] = (),
    ) -> swap_plan.Plan:
        """How `contents`, by role, take the places of what was found; a ca_file that stays as it is is left alone.

        `cas`: what is changed in ca_directory.
        """
        wanted = {FileRole(role): content for role, content in contents.items()}  # ValueError for one not in the table
        ca = found.get(FileRole.CA)
        changes_ca = FileRole.CA in wanted and (ca is None or wanted[FileRole.CA] != ca.content)
        if not changes_ca:
            wanted.pop(FileRole.CA, None)
        kept = self._keeps(found) & set(wanted)
        if wanted and self._definition.swap == "symlink":
            # A generation is complete: what is not changed is carried over.
            carried = {role: look.content for role, look in found.items() if look is not None and role not in wanted}
            wanted |= carried
            kept |= set(carried)
        files = tuple(
            swap_plan.NewFile(
                role,
                resolve(self._paths[role], self._live),
                wanted[role],
                self._ownership(role, found[role]),
                before=_digest(found[role]),
                inode_of=self._inode_of(found[role]),
            )
            for role in FileRole
            if role in wanted
        )
        self._check_targets(files, found, kept)
        self._check_live()
        return swap_plan.prepare(
            (*cas, *files),
            swap_id=swap_id,
            linked=self._definition.swap == "symlink",
            previous=previous or self._previous,
            live=self._live,
            others=[path for role, path in self._paths.items() if role not in wanted],
            changes_ca=changes_ca or bool(cas),
        )

    def _check_targets(self, files: tuple[swap_plan.NewFile, ...], found: Found, kept: Collection[FileRole]) -> None:
        """Each file is one of its own, and what is `kept` of those in place is shown to nobody new. KeystoreError."""
        if len({file.target for file in files}) < len(files):
            hint = "for one combined file, use the same path for key_file and certificate_file; otherwise fix the links"
            raise KeystoreError(f"two files of {self.name} are the same file through a symbolic link", hint)
        for file in files:
            look = found[file.role]
            self._check_holder(look, file.ownership)
            if file.role in kept and look is not None and gives_away(look, file.ownership):
                raise KeystoreError(
                    f"{file.target} is in a directory that others can write to, and replacing it would let them "
                    "read its content, which they cannot read now",
                    "if it belongs to this keystore, give it the configured owner, group and mode",
                )

    def _inode_of(self, found: Look | None) -> Ownership | None:
        """Whose the file is, if the new content is written into it: as configured, else where it is read as a mount."""
        if found is None or found.path.is_relative_to(self._live):
            return None
        swap = self._definition.swap
        over = swap == "in-place" or (swap is None and self._mounts.of(found.path))
        return ownership_of_copy(found) if over else None

    @cached_property
    def _mounts(self) -> Mounts:
        return Mounts.read()

    def _check_holder(self, found: Look | None, wanted: Ownership) -> None:
        """What is written into a file is read by whoever holds it open: nobody whose it is not to be. KeystoreError."""
        if found is None or not self.keeps_inode(found):
            return
        uid = found.status.st_uid
        if wanted.uid not in (None, uid) and uid not in owned.owners():
            raise KeystoreError(
                f"{found.path} belongs to {owned.name_of(uid)}, who may have it open and could read what "
                "is written into it for another owner",
                "change its owner by hand (chown)",
            )

    def _content(self, path: Path) -> bytes | None:
        """What a consumer's reader of this path gets. Raises KeystoreError."""
        return read_file(path, self._live)

    def _ownership(self, role: FileRole, found: Look | None) -> Ownership:
        owner, group, mode = self._definition.owner, self._definition.group, self._definition.mode
        if not role.private:
            return ownership(found, owner=owner, group=group, mode=None, default=0o644)
        if mode is None and not (found and self._holds_key(found.content)):
            mode = Mode(0o600)  # one that was meant for certificates is not handed on to a key
        # Nobody says by leaving `mode` out that everybody is to have the key.
        return ownership(found, owner=owner, group=group, mode=mode, default=0o600, inherited=0o770)


def _digest(found: Look | None) -> str:
    return "" if found is None else sha256(found.content)
