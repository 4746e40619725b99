"""The whole configuration: what agent.yaml and the files it includes may say. Pure."""

from typing import Annotated

from msgspec import Meta, field

from certagent.config.authority import Authority
from certagent.config.keystores import KeystoreDefaults, KeystoreDefinition
from certagent.config.parts import Definition
from certagent.config.values import Directory, Duration, Name, WrittenFile


class Configuration(Definition, frozen=True, kw_only=True):
    """A whole configuration, includes merged, defaults applied, checked."""

    state_dir: Annotated[Directory, Meta(description="where certagent keeps its state")] = "/var/lib/certagent"
    live_dir: Annotated[Directory, Meta(description="where `swap: symlink` keeps what consumers read")] = (
        "/var/lib/certagent-live"
    )
    include: Annotated[
        str | tuple[str, ...],
        Meta(description="more configuration files: a glob relative to this file, or a list of them"),
    ] = ()
    metrics_file: Annotated[WrittenFile | None, Meta(description="a Prometheus textfile, written after each run")] = (
        None
    )
    worker_timeout: Annotated[
        Duration, Meta(description="how long a worker may take for one keystore; default 10m")
    ] = field(default_factory=lambda: Duration(minutes=10))
    max_workers: Annotated[int, Meta(ge=1, le=64, description="how many workers may run at once")] = 2
    check_every: Annotated[Duration, Meta(description="how often the agent looks at all keystores; default 1h")] = (
        field(default_factory=lambda: Duration(hours=1))
    )
    authorities: Annotated[dict[Name, Authority], Meta(description="SCEP endpoints, by name")] = field(
        default_factory=dict
    )
    defaults: Annotated[KeystoreDefaults, Meta(description="values that every keystore inherits")] = KeystoreDefaults()
    keystores: Annotated[dict[Name, KeystoreDefinition], Meta(description="keystores, by name")] = field(
        default_factory=dict
    )

    def authority_of(self, definition: KeystoreDefinition) -> Authority:
        return self.authorities[definition.authority]
