"""A node: an Ed25519 identity that runs replicas, as the coordinator's registry knows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field

from nexapod_batch.model.job import Domain, NumericClass, Tier

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["JOINED", "LOCAL", "Node"]

#: The site of this machine's own nodes, and the transport that needs no other machine.
LOCAL = "local"
#: The backend of nodes that joined from elsewhere: they hold their own keys, and call for work.
JOINED = "agent"


class Node(Struct, frozen=True, kw_only=True):
    """One registered node. Site and owner are the coordinator's word, never the node's."""

    id: int  # row id in the registry; 0 before it is registered
    name: str
    key_id: str  # SHA256: fingerprint of the public key
    public_key: bytes  # 32 bytes, raw Ed25519
    site: str
    owner: str
    host: str
    tier: Tier
    backend: str  # entry-point name
    cpus: int
    mem_mib: int
    gpus: int = 0
    gpu_type: str | None = None
    gpu_mem_mib: int = 0  # of the GPU that has most, from the profile; 0 where nobody said it
    hosts: int = 1  # machines that it is made of
    classes: Mapping[str, str] = field(default_factory=dict)  # numeric class -> value, from the profile
    speed: float = 0.0  # of one of its CPUs by the benchmark, in Mflop/s; 0 where it was not measured
    max_queued: int = 5_000  # replicas that may be out on this node at once
    active: bool = True
    first_key: str = ""  # id of the key that it was registered with, which names it for good; "" for the one it has
    cluster: str = ""  # which cluster it is, as its scheduler says it; "" where nobody has said so
    cluster_at: int = 0  # when that was, ms
    made_by: str = ""  # account that made its key
    counts_as: Mapping[Domain, str] = field(default_factory=dict)  # domains in place of its own: it is another's twin
    networks: tuple[str, ...] = ()  # from which it has called, where it joined (`model.networks`)
    owner_state: str = "approved"  # approved, waits, suspended: nodes that joined get work where it is approved
    limited: tuple[str, ...] = ()  # cpus, mem: of which its owner gives less than it has, as it stands here

    @property
    def joined(self) -> bool:
        """Say whether the node joined from elsewhere, with a key that is not here."""
        return self.backend == JOINED

    def domain(self, field_name: Domain, run: str) -> str:
        """Return which failure domain this node stands in; `run` identifies the single execution.

        One that joined counts by its owner alone, whatever must differ: two of one owner are never two. Where owners
        must differ, it and a site's node of the same owner are one as well.
        """
        if field_name is Domain.RUN:
            return run
        if self.joined and field_name is Domain.OWNER:
            return self.owner
        if self.joined:
            return f"owner {self.owner}"
        if field_name in self.counts_as:
            return self.counts_as[field_name]
        return str(getattr(self, field_name.value if field_name is not Domain.NODE else "key_id"))

    def numeric_class(self, wanted: NumericClass) -> str:
        """Return the value of a numeric class, `""` for `any`, and `unknown` where the profile does not say."""
        if wanted is NumericClass.ANY:
            return ""
        return self.classes.get(wanted.value, "unknown")
