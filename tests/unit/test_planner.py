"""Which node runs what, and the words for why not."""

from __future__ import annotations

from collections import Counter

import pytest

from nexapod_batch.model.job import Domain, Job, NumericClass, QuorumPolicy, Resources, Tier
from nexapod_batch.model.node import Node
from nexapod_batch.model.reason import Reason
from nexapod_batch.planner import Need, NodeLoad, capacity, plan, why_not
from nexapod_batch.wording import sentence


def node(number: int, **values: object) -> Node:
    """Return a node of its own owner, host and key at the site `here`."""
    defaults: dict[str, object] = {
        "id": number,
        "name": f"n{number}",
        "key_id": f"k{number}",
        "public_key": bytes(32),
        "site": "here",
        "owner": f"o{number}",
        "host": f"h{number}",
        "tier": Tier.CPU,
        "backend": "fake",
        "cpus": 4,
        "mem_mib": 8192,
    }
    return Node(**{**defaults, **values})  # type: ignore[arg-type]


def job(*distinct: Domain, resources: Resources | None = None, **quorum: object) -> Job:
    """Return a job whose replicas must differ in `distinct`, by default in the node."""
    policy = QuorumPolicy(distinct=distinct or (Domain.NODE,), **quorum)  # type: ignore[arg-type]
    return Job(name="j", command=("true",), quorum=policy, resources=resources or Resources())


def loads(*nodes: Node, out: int = 0) -> list[NodeLoad]:
    """Return the nodes with nothing to do."""
    return [NodeLoad(node=one, out=out) for one in nodes]


def domains(one: Node) -> dict[Domain, str]:
    """Return where a replica on this node ran."""
    return {name: one.domain(name, "1.1") for name in Domain}


TASK = Need(task=0, want=2)


def said(found: list[tuple[str, Reason]]) -> list[tuple[str, str]]:
    """Return nodes with the sentences that keep them from a replica."""
    return [(name, sentence(reason)) for name, reason in found]


def test_replicas_of_a_task_go_to_distinct_nodes() -> None:
    """Two replicas, two nodes, once each."""
    assert sorted(plan(job(), [TASK], loads(node(1), node(2))).placements) == [(0, 1), (0, 2)]


@pytest.mark.parametrize("field", [Domain.HOST, Domain.NODE, Domain.SITE, Domain.OWNER])
def test_a_domain_is_taken_once(field: Domain) -> None:
    """A second node of the same domain gets nothing, and the reason names the domain."""
    attribute = "key_id" if field is Domain.NODE else field.value
    twins = [node(1, **{attribute: "same"}), node(2, **{attribute: "same"})]
    made = plan(job(field), [TASK], loads(*twins))
    assert len(made.placements) == 1
    assert made.unplaceable == {0}
    assert f"the same {field}" in sentence(made.blocked[0])


def test_a_domain_placed_before_blocks_and_a_lost_one_does_not() -> None:
    """`taken` holds what still counts; what was lost is not in it."""
    here = node(1)
    blocked = plan(job(), [Need(task=0, want=1, taken=(domains(here),))], loads(here))
    assert blocked.placements == []
    assert plan(job(), [Need(task=0, want=1)], loads(here)).placements == [(0, 1)]


def test_one_node_serves_every_replica_of_distinct_run() -> None:
    """`run` lets one machine repeat its own work."""
    assert plan(job(Domain.RUN), [TASK], loads(node(1))).placements == [(0, 1), (0, 1)]


def test_run_spreads_all_the_same() -> None:
    """Another owner goes before another site, site before host, host before node; each before repeating."""
    first = node(1, owner="a", site="s", host="h")
    choices = [
        node(2, owner="a", site="s", host="h"),
        node(3, owner="a", site="s", host="other"),
        node(4, owner="a", site="other", host="h"),
        node(5, owner="b", site="s", host="h"),
    ]
    need = Need(task=0, want=1, taken=(domains(first),))
    for best in range(len(choices)):
        made = plan(job(Domain.RUN), [need], loads(first, *choices[: best + 1]))
        assert made.placements == [(0, choices[best].id)]


def test_several_fields_never_choose_themselves_into_a_corner() -> None:
    """Node 1 fits best, but with it no second node would differ in both site and owner."""
    corner = node(1, site="a", owner="x", cpus=64)
    other, another = node(2, site="a", owner="y"), node(3, site="b", owner="x")
    made = plan(job(Domain.SITE, Domain.OWNER), [TASK], loads(corner, other, another))
    assert sorted(made.placements) == [(0, 2), (0, 3)]


def test_the_least_loaded_for_its_cpus_comes_first() -> None:
    """Four replicas on sixteen CPUs are less than two on four."""
    big, small = NodeLoad(node=node(1, cpus=16), out=4), NodeLoad(node=node(2, cpus=4), out=2)
    assert plan(job(), [Need(task=0, want=1)], [small, big]).placements == [(0, 1)]


def test_load_is_balanced_over_many_tasks() -> None:
    """Thousands of replicas are shared in proportion to the CPUs."""
    needs = [Need(task=task, want=1) for task in range(3000)]
    made = plan(job(), needs, loads(node(1, cpus=2), node(2, cpus=4)))
    counts = Counter(node_id for _, node_id in made.placements)
    assert counts[1] + counts[2] == 3000
    assert 900 < counts[1] < 1100


def test_a_node_that_lost_a_task_gets_it_only_where_there_is_no_other() -> None:
    """What was lost for want of room there would be lost again; other tasks go there all the same."""
    better, other = node(1, cpus=64), node(2)
    needs = [Need(task=0, want=1, lost_on=frozenset({1})), Need(task=1, want=1)]
    assert sorted(plan(job(), needs, loads(better, other)).placements) == [(0, 2), (1, 1)]
    assert plan(job(), needs[:1], loads(better)).placements == [(0, 1)]
    assert plan(job(), needs[:1], [*loads(better), NodeLoad(node=other, blamed=1)]).placements == [(0, 1)]


def test_a_blamed_node_comes_last() -> None:
    """A node that signed what no honest node signs is used only when there is no other."""
    liar = NodeLoad(node=node(1, cpus=64), blamed=1)
    assert plan(job(), [Need(task=0, want=1)], [liar, *loads(node(2))]).placements == [(0, 2)]


def test_full_nodes_block_but_are_worth_waiting_for() -> None:
    """Slots are never oversubscribed; who waits for one is not called unplaceable."""
    needs = [Need(task=task, want=2) for task in range(10)]
    made = plan(job(), needs, [*loads(node(1, max_queued=3)), NodeLoad(node=node(2, max_queued=9), out=2)])
    assert Counter(node_id for _, node_id in made.placements) == {1: 3, 2: 7}
    assert sentence(made.blocked[9]) == "every node that could take it is full: n1, n2"
    assert made.unplaceable == set()


def test_slots_hold_for_run_too() -> None:
    """A node with one slot left takes one replica, also when it could repeat."""
    assert plan(job(Domain.RUN), [TASK], [NodeLoad(node=node(1, max_queued=5), out=4)]).placements == [(0, 1)]


def test_the_class_is_fixed_where_most_domains_are_free() -> None:
    """Two zen4 nodes and one skylake: zen4; afterwards the task stays there."""
    classed = job(numeric_class=NumericClass.CPU_MICROARCH)
    nodes = [node(n, classes={"cpu-microarch": name}) for n, name in enumerate(["skylake", "zen4", "zen4"], 1)]
    made = plan(classed, [TASK], loads(*nodes))
    assert made.classes == {0: "zen4"}
    assert sorted(made.placements) == [(0, 2), (0, 3)]
    later = plan(classed, [Need(task=0, want=1, numeric_class="skylake")], loads(*nodes))
    assert later.placements == [(0, 1)]
    assert later.classes == {}


def test_a_class_that_can_meet_the_quorum_goes_first() -> None:
    """Two busy nodes of one class beat one free node that could never agree with anybody."""
    classed = job(numeric_class=NumericClass.OS_ARCH)
    busy = [NodeLoad(node=node(n, classes={"os-arch": "a"}, max_queued=1), out=1) for n in (1, 2)]
    made = plan(classed, [TASK], [*busy, *loads(node(3, classes={"os-arch": "b"}))])
    assert made.placements == []
    assert made.unplaceable == set()


@pytest.mark.parametrize(
    ("resources", "reason"),
    [
        (Resources(tier=Tier.HPC), "its tier is cpu, not hpc"),
        (Resources(cpus_per_task=8), "has 4 CPUs, 8 CPUs wanted"),
        (Resources(mem_mib=65_536), "has 8 GiB of memory, 64 GiB of memory wanted"),
        (Resources(gpus=1), "has 0 GPUs, 1 GPU wanted"),
        (Resources(gpu_type="a100"), "has GPUs of type unknown, not a100"),
        (Resources(nodes=2), "is a single machine, and resources.nodes = 2"),
    ],
)
def test_why_not(resources: Resources, reason: str) -> None:
    """Every node says in a few words why it does not take the task."""
    assert said(why_not(job(resources=resources), TASK, loads(node(1)))) == [("n1", reason)]


def test_why_not_for_what_may_change() -> None:
    """Taken, full, switched off and unknown class are told; a node that could take it is not listed."""
    taken, full, off, free = node(1), node(2, max_queued=2), node(3, active=False), node(4)
    found = why_not(
        job(),
        Need(task=0, want=1, taken=(domains(taken),)),
        [*loads(taken), NodeLoad(node=full, out=2), *loads(off, free)],
    )
    assert said(found) == [
        ("n1", "a replica of this task was placed on the same node (n1)"),
        ("n2", "is full: 2 replicas out, max_queued = 2"),
        ("n3", "is switched off"),
    ]
    classed = job(numeric_class=NumericClass.GPU_MODEL)
    assert said(why_not(classed, TASK, loads(node(1)))) == [("n1", "its profile does not say its gpu-model")]


def test_capacity_in_reach() -> None:
    """Enough domains: no reason; a warning where the job itself asks for more replicas than there are domains."""
    reach = capacity(job(), loads(node(1), node(2)))
    assert (reach.domains, reach.reason, reach.warning) == (2, None, None)
    assert capacity(job(max_replicas=2), loads(node(1), node(2))).warning is None
    asked = capacity(job(max_replicas=5), loads(node(1), node(2))).warning
    assert "quorum.max_replicas = 5, and there are 2 distinct nodes in reach" in sentence(asked)
    assert "set it to 2" in sentence(asked)
    assert capacity(job(Domain.RUN), loads(node(1))).reason is None


def test_a_measured_node_gets_work_by_its_speed() -> None:
    """Twice as fast: first, and twice as much; who was not measured counts as a typical one."""
    nodes = [node(1, speed=100.0), node(2, speed=200.0), node(3, speed=50.0), node(4)]
    assert plan(job(agree=1), [Need(task=0, want=1)], loads(*nodes)).placements == [(0, 2)]
    made = plan(job(Domain.RUN), [Need(task=n, want=1) for n in range(900)], loads(*nodes))
    shares = Counter(number for _, number in made.placements)
    assert shares[2] > 1.6 * shares[1] > 2.5 * shares[3]
    assert abs(shares[4] - shares[1]) < 0.2 * shares[1]


def test_a_gpu_type_is_told_with_the_types_that_there_are() -> None:
    """A chip of another name is none of it, however alike the names are."""
    nodes = [node(1), node(2, gpus=1, gpu_type="NVIDIA GeForce RTX 4070 Ti"), node(3, gpus=2, gpu_type="a100,h100")]

    def reason(wanted: str) -> str:
        return sentence(capacity(job(agree=1, resources=Resources(gpus=1, gpu_type=wanted)), loads(*nodes)).reason)

    assert "no node has a GPU of type rtx4070: n2 has NVIDIA GeForce RTX 4070 Ti; n3 has a100 and h100" in reason("rtx4070")
    assert reason("4070ti") == ""
    assert reason("h100") == ""
    assert "no node has a GPU of type a10: " in reason("a10")


def test_capacity_names_what_is_missing_and_the_ways_out() -> None:
    """One node, two wanted: register one, or repeat on the same machine."""
    reason = sentence(capacity(job(), loads(node(1))).reason)
    assert "agree = 2 needs 2 replicas that differ in node: got 1 in reach (n1), 1 missing" in reason
    assert "nexapod-batch node init --name NAME --owner OWNER" in reason
    assert 'distinct = "run"' in reason
    assert "lower quorum.agree to 1" in reason


def test_capacity_counts_within_one_class() -> None:
    """Nodes that cannot be compared do not add up."""
    nodes = [node(n, classes={"os-arch": name}) for n, name in ((1, "linux-x86_64"), (2, "linux-aarch64"))]
    reach = capacity(job(numeric_class=NumericClass.OS_ARCH), loads(*nodes))
    assert reach.classes == {"linux-x86_64": 1, "linux-aarch64": 1}
    assert "of one os-arch" in sentence(reach.reason)


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        (Resources(mem_mib=65_536), "resources.mem: a replica wants 64 GiB of memory, the largest node (n2) has 16"),
        (Resources(cpus_per_task=8), "resources.cpus_per_task: a replica wants 8 CPUs, the largest node (n1) has 6"),
        (Resources(gpus=2), "resources.gpus: a replica wants 2 GPUs, no node in reach has one"),
        (Resources(cpus_per_task=6, mem_mib=16_384), "no single node has all that a replica wants: n1 has 8 GiB"),
        (Resources(tier=Tier.HPC), "no node of tier hpc: got 2 x cpu"),
    ],
)
def test_capacity_names_the_resource_and_the_largest_node(resources: Resources, words: str) -> None:
    """What no node has is refused with the resource and the largest there is."""
    reason = sentence(capacity(job(resources=resources), loads(node(1, cpus=6), node(2, mem_mib=16_384))).reason)
    assert reason.startswith(words)
    assert "\n  -> " in reason


def test_capacity_without_nodes() -> None:
    """Nothing registered: how to register one."""
    assert "no active node is registered" in sentence(capacity(job(), loads(node(1, active=False))).reason)
    assert sentence(plan(job(), [TASK], []).blocked[0]) == "no node is registered"


def test_a_node_whose_site_refuses_is_never_taken() -> None:
    """However free it is; the reason is given, and no wait for slots would change it."""
    refusing = NodeLoad(node=node(1, cpus=64), refused=Reason.text("resources.time: too long"))
    made = plan(job(), [Need(task=0, want=1)], [refusing, NodeLoad(node=node(2), out=3)])
    assert made.placements == [(0, 2)]
    made = plan(job(), [Need(task=0, want=1)], [refusing])
    assert sentence(made.blocked[0]) == "no node is left for it: n1: resources.time: too long"
    assert made.unplaceable == {0}
    assert said(why_not(job(), Need(task=0, want=1), [refusing])) == [("n1", "resources.time: too long")]


def test_a_node_whose_partitions_were_compared_is_not_judged_by_one_host() -> None:
    """Sixteen tasks on hosts of four CPUs are its site's business; elsewhere they are too many."""
    wide = job(resources=Resources(ntasks=16))
    assert plan(wide, [Need(task=0, want=1)], [NodeLoad(node=node(1), sized=True)]).placements == [(0, 1)]
    assert plan(wide, [Need(task=0, want=1)], loads(node(1))).placements == []


def test_capacity_leaves_out_who_refuses() -> None:
    """A quorum of two is not met by one node that takes the job and one that does not."""
    found = [NodeLoad(node=node(1)), NodeLoad(node=node(2), refused=Reason.text("no account"))]
    assert "got 1 in reach (n1), 1 missing" in sentence(capacity(job(), found).reason)
    assert "n2 no account" in sentence(capacity(job(), found[1:]).reason)
