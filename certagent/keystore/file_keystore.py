"""What all drivers share: shadows and previous/ in the state directory, and the files that a swap replaces."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import Generic, TypeVar

from cryptography import x509
from msgspec.structs import replace

from certagent import durable
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
from certagent.keystore import obstacles, shadow_files, swap_plan
from certagent.keystore.base import Identity, Keystore, Remark, Shadow, prove_pair
from certagent.keystore.ca_directory import CaDirectory
from certagent.keystore.files import (
    explained,
    gives_away,
    goes_back,
    look_at,
    look_unless_same,
    ownership,
    ownership_of_copy,
    resolve,
)
from certagent.keystore.hash_directory import A_NAME
from certagent.keystore.targets import sha256
from certagent.mounts import Mounts
from certagent.state_directory import KeystoreDirectory

ReadSecret = Callable[[Secret], bytes]
Found = Mapping[FileRole, Look | None]
"""The files in place, each looked at once."""
Definition = TypeVar("Definition", bound=KeystoreDefinition)


class FileKeystore(Keystore, Generic[Definition]):
    """A keystore whose swap replaces the files of `definition.paths`. A shadow is one file, with its key or its name.

    A driver adds how to read an identity from such files, what to write into them, and how to make a shadow.
    """

    _older_shadow: str  # the name of a shadow's file in its directory of releases 0.1 and 0.2; its ending has stayed

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
        self._proven: tuple[PrivateKey, x509.Certificate] | None = None

    @abstractmethod
    def _identity(self, paths: Mapping[FileRole, Path]) -> Identity | None:
        """The identity in these files; None if there is none. Raises KeystoreError, as `read` does."""

    @abstractmethod
    def _contents(
        self, shadow: Shadow, certificate: x509.Certificate, trusted: tuple[x509.Certificate, ...], found: Found
    ) -> dict[FileRole, bytes]:
        """What each file holds once `shadow` is active, in place of what was found.

        No file is made for empty content, or for a role without a path.
        """

    def _check_contents(self, contents: Mapping[FileRole, bytes], certificate: x509.Certificate) -> None:
        """Read the files of a new identity as consumers will, before any of them is written. Raises KeystoreError."""

    def _keeps(self, found: Found) -> frozenset[FileRole]:
        """The roles of files that keep a part of what was found in them."""
        return frozenset()

    def _key_place(self, shadow_id: str) -> str:
        """Where the key of a shadow is, for errors."""
        return str(self._shadow_file(shadow_id))

    def _shadow_file(self, shadow_id: str) -> Path:
        """The file with the key of a shadow, or with its name."""
        return shadow_files.find(self._shadows, shadow_id, self._older_shadow)

    def _completed(self, shadow: Shadow, file: Path) -> Shadow:
        """The shadow whose key is in this file, with its certificate if an older release began it."""
        return shadow if file.parent == self._shadows else shadow_files.completed(shadow, file.parent)

    def read(self) -> Identity | None:
        return self._identity(self._paths)

    def complete_shadow(
        self, shadow: Shadow, certificate: x509.Certificate, chain: tuple[x509.Certificate, ...], *, tried: bool = False
    ) -> Shadow:
        if tried:
            self._proven = shadow.key, certificate
        else:
            self._prove(shadow.key, certificate, self._key_place(shadow.id))
        return replace(shadow, certificate=certificate, chain=chain)

    def plan_activation(self, shadow: Shadow, trusted: tuple[x509.Certificate, ...]) -> swap_plan.Plan:
        if shadow.certificate is None:
            raise KeystoreError(f"the shadow {shadow.id} of {self.name} has no certificate yet", "wait for the CA")
        self._prove(shadow.key, shadow.certificate, self._key_place(shadow.id))
        found = self._look()
        contents = self._contents(shadow, shadow.certificate, trusted, found)
        self._check_contents(contents, shadow.certificate)
        self._proven = None
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
            shadow_files.sweep(self._shadows, keep)

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
        # previous/ still holds the old identity.
        return self._plan(swap_id, wanted, found, self._previous.with_name("previous-ca"), cas)

    def plan_adjustment(
        self, swap_id: str, trusted: tuple[x509.Certificate, ...], *, placed: bool
    ) -> swap_plan.Plan | None:
        wanted = self._lost()
        if not placed and not wanted:  # nearly always: no file is read for it
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
        """The lost files that can be made again from what is left. Raises KeystoreError."""
        return {}

    def _changed(self, trusted: tuple[x509.Certificate, ...], found: Found) -> dict[FileRole, bytes]:
        """The files whose content is not as the definition says, with the right content. Raises KeystoreError."""
        return {}

    def _is_anothers(self, role: FileRole, look: Look) -> bool:
        """Whether owner, group or mode are configured and differ. With an access list, the mode cannot be compared."""
        defined, there, status = self._definition, self._ownership(role, look), look.status
        if role is FileRole.CA or any("acl" in name for name in look.attributes):
            return False
        return (
            (defined.owner is not None and there.uid != status.st_uid)
            or (defined.group is not None and there.gid != status.st_gid)
            or (defined.mode is not None and role.private and there.mode != status.st_mode & 0o777)
        )

    def _gives_away(self, role: FileRole, found: Found) -> bool:
        """Whether others, who may have moved it there, would get to read the file: then it waits for a new pair."""
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
            wanted = ownership(found, owner=owner, group=group, mode=None, default=0o600)
            over = self.keeps_inode(found)
            if found is not None and over and (fault := obstacles.shows_to_holder(found, wanted)):
                raise fault
            target = resolve(self._paths[role], self._live)
            self.check_target(target, over=over)
            if not over and (fault := obstacles.cannot_be_given(target, wanted)):
                raise fault  # a file that is written into keeps its owner
        if self._cas:
            self.check_target(resolve(self._cas.path / A_NAME, self._live), over=False)
        self._check_live()

    def keeps_inode(self, found: Look | None) -> bool:
        if found is None or f"{found.place}/".startswith(f"{self._live}/"):
            return False
        swap = self._definition.swap
        return swap == "in-place" or (swap is None and bool(self._mounts.of(found.place)))

    def check_target(self, target: Path, *, over: bool) -> None:
        beside = f"{swap_plan.beside(target, '0' * 32).name}.old"
        points = {mount.point for mount in self._mounts.own}
        if fault := obstacles.find(target, over=over, beside=beside, mounts=points):
            raise fault

    def exposed(self) -> tuple[str, ...]:
        found = [look_unless_same(path, self._live, self) for role, path in self._paths.items() if role.private]
        return tuple(
            f"{look.path} holds the private key and can be read by everybody on the host (mode "
            f"{look.status.st_mode & 0o777:04o})"
            for look in found
            if look is not None and look.status.st_mode & 0o007 and self._holds_key(look.content)
        )

    def _check_live(self) -> None:
        """Check that nobody else can exchange the files that consumers are led to, and that our link there is one: a
        restored backup may have a copy in its place. Raises KeystoreError."""
        if self._definition.swap != "symlink":
            return
        if fault := directory_fault(self._live):
            raise KeystoreError(f"live_dir is not trusted: {fault[0]}", fault[1])
        pointer, copy = self._live / swap_plan.POINTER, "generation-restored"
        if pointer.exists() and not pointer.is_symlink():
            raise KeystoreError(
                f"{pointer} is not a link, so no new pair can be put in place through it",
                f"make it one: `cd {self._live} && mv {pointer.name} {copy} && ln -s {copy} {pointer.name}`",
            )

    def watched(self) -> tuple[Path, ...]:
        # A change shows in the directory itself: a file added, removed, or put in another file's place.
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

    def _prove(self, key: PrivateKey, certificate: x509.Certificate, where: str) -> None:
        """`prove_pair`, unless this very key, as it is in memory, has just proven it. Raises KeystoreError."""
        if self._proven is None or self._proven[0] is not key or self._proven[1] != certificate:
            prove_pair(key, certificate, where)
            self._proven = key, certificate

    def _key_in_place(self) -> PrivateKey:
        identity = self.read()
        if identity is None:
            raise KeystoreError(f"keystore {self.name} has no key to keep", "set `rekey: always`")
        return identity.key

    def _holds_key(self, content: bytes) -> bool:
        """Whether what was found in the place of a private file really is one."""
        return b"PRIVATE KEY-----" in content

    def _look(self, *roles: FileRole) -> Found:
        """Look once at each file, or at those of these roles: what it holds, and who owns it."""
        return {role: look_at(self._paths[role], self._live) for role in roles or self._paths}

    def _plan(
        self,
        swap_id: str,
        contents: Mapping[FileRole, bytes],
        found: Found,
        previous: Path | None = None,
        cas: tuple[swap_plan.NewFile, ...] = (),
    ) -> swap_plan.Plan:
        """How `contents`, by role, replace what was found; an unchanged ca_file is left alone.

        `cas`: the changes in ca_directory.
        """
        wanted = {FileRole(role): content for role, content in contents.items()}  # ValueError for one not in the table
        ca = found.get(FileRole.CA)
        changes_ca = FileRole.CA in wanted and (ca is None or wanted[FileRole.CA] != ca.content)
        if not changes_ca:
            wanted.pop(FileRole.CA, None)
        kept = self._keeps(found) & set(wanted)
        if wanted and self._definition.swap == "symlink":
            # A generation is complete: it also carries the files that do not change.
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
        """Check that the files differ and that nobody new can read content `kept` from old ones. KeystoreError."""
        if len({file.target for file in files}) < len(files):
            hint = "for one combined file, use the same path for key_file and certificate_file; otherwise fix the links"
            raise KeystoreError(f"two files of {self.name} are the same file through a symbolic link", hint)
        for file in files:
            look = found[file.role]
            if look and file.inode_of and (fault := obstacles.shows_to_holder(look, file.ownership)):
                raise fault
            if file.role in kept and look is not None and gives_away(look, file.ownership):
                raise KeystoreError(
                    f"{file.target} is in a directory that others can write to, and replacing it would let them "
                    "read its content, which they cannot read now",
                    "if it belongs to this keystore, give it the configured owner, group and mode",
                )

    def _inode_of(self, found: Look | None) -> Ownership | None:
        """The owner and mode of a file that is written into; None for a new file."""
        return ownership_of_copy(found) if found is not None and self.keeps_inode(found) else None

    @cached_property
    def _mounts(self) -> Mounts:
        return Mounts.read()

    def _content(self, path: Path) -> bytes | None:
        """What a consumer gets when it reads this path. Raises KeystoreError."""
        look = look_unless_same(path, self._live, self)
        return None if look is None else look.content

    def _ownership(self, role: FileRole, found: Look | None) -> Ownership:
        owner, group, mode = self._definition.owner, self._definition.group, self._definition.mode
        if not role.private:
            return ownership(found, owner=owner, group=group, mode=None, default=0o644)
        if mode is None and not (found and self._holds_key(found.content)):
            mode = Mode(0o600)  # a key file does not get the mode of a file of certificates
        # Leaving out `mode` never means that everybody may read the key.
        return ownership(found, owner=owner, group=group, mode=mode, default=0o600, inherited=0o770)


def _digest(found: Look | None) -> str:
    return "" if found is None else sha256(found.content)
