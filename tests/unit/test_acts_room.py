"""Room on a host: sums of what is promised, and who steps back where operators share no lock."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from virtfleet.errors import NoRoomError, RefusedError, from_code
from virtfleet.hypervisor.acts.room import (
    GroupLimit,
    Limits,
    Promise,
    Verdict,
    alone,
    hopeless,
    larger,
    marked,
    promise_of,
    shortfall,
    unmarked,
    verdict,
)

GIB = 1 << 30
XML = """<domain type='kvm'><name>a</name><uuid>00000000-0000-0000-0000-00000000000a</uuid>
<metadata><v:vm xmlns:v='urn:virtfleet:vm:1'><v:project>p</v:project><v:group>web</v:group></v:vm>
<o:other xmlns:o='urn:other'/></metadata>
<memory unit='MiB'>512</memory><vcpu current='1'>4</vcpu></domain>"""

_SIZES = st.tuples(st.integers(1, 4), st.integers(1, 4))
_LIMIT = st.none() | st.integers(0, 12)


def vm(name: str, vcpus: int = 1, memory: int = 1, **more: str) -> Promise:
    return Promise(uuid=name, vcpus=vcpus, memory=memory, **more)  # type: ignore[arg-type]


def test_a_description_tells_what_is_promised_and_a_mark_comes_and_goes() -> None:
    plain = promise_of(XML)
    assert (plain.vcpus, plain.memory, plain.group, plain.project) == (4, GIB // 2, "web", "p")
    assert plain.mark == ""
    assert promise_of(marked(XML, "w1")) == replace(plain, mark="w1")
    assert promise_of(marked(marked(XML, "w1"), "w2")).mark == "w2"
    assert promise_of(unmarked(marked(XML, "w1"))) == plain
    assert "urn:other" in unmarked(marked(XML, "w1"))
    assert unmarked(XML) is XML
    with pytest.raises(ValueError, match="no domain's XML"):
        promise_of("<pool/>")


@given(st.lists(_SIZES, max_size=5), _SIZES, _LIMIT, _LIMIT, _LIMIT)
def test_what_fits_is_what_the_sums_say(
    there: list[tuple[int, int]],
    want: tuple[int, int],
    vcpus: int | None,
    memory: int | None,
    vms: int | None,
) -> None:
    present = [vm(f"a{n}", *size) for n, size in enumerate(there)]
    says = shortfall(present, vm("new", *want), Limits(vcpus=vcpus, memory=memory, vms=vms))
    over = [
        vcpus is not None and sum(size[0] for size in there) + want[0] > vcpus,
        memory is not None and sum(size[1] for size in there) + want[1] > memory,
        vms is not None and len(there) + 1 > vms,
    ]
    assert len(says) == sum(over)


@given(st.lists(_SIZES, max_size=4), _SIZES, _SIZES, _LIMIT, _LIMIT)
def test_what_does_not_grow_is_allowed_on_a_host_that_is_over(
    there: list[tuple[int, int]],
    was: tuple[int, int],
    becomes: tuple[int, int],
    vcpus: int | None,
    memory: int | None,
) -> None:
    present = [vm("me", *was), *(vm(f"a{n}", *size) for n, size in enumerate(there))]
    says = shortfall(present, vm("me", *becomes), Limits(vcpus=vcpus, memory=memory))
    for n, limit, word in ((0, vcpus, "vCPU"), (1, memory, "memory")):
        sum_ = sum(size[n] for size in there) + becomes[n]
        assert any(word in each for each in says) == (
            limit is not None and becomes[n] > was[n] and sum_ > limit
        )


def test_refusals_have_the_figures() -> None:
    present = [vm("a", 14, 58 * GIB + 858993459, group="web"), vm("b", 0, GIB, group="web", project="p")]
    limits = Limits(vcpus=16, memory=64 * GIB, vms=2, group=GroupLimit(name="web", most=2))
    assert shortfall(present, vm("c", 4, 8 * GIB, group="web"), limits) == [
        "4 vCPU wanted, 2 of 16 left",
        "8 GiB of memory wanted, 4.2 GiB of 64 GiB left",
        "2 VMs are there, of at most 2",
        "2 VMs of group web are there, of at most 2",
    ]


def test_a_group_is_counted_by_its_name_and_its_project() -> None:
    present = [vm("a", group="web"), vm("b", group="web", project="p"), vm("c", group="db", project="p")]
    new = vm("n", group="web", project="p")
    assert shortfall(present, new, Limits(group=GroupLimit(name="web", most=2)))
    assert not shortfall(present, new, Limits(group=GroupLimit(name="web", most=2, project="p")))
    assert shortfall(present, new, Limits(group=GroupLimit(name="web", most=1, project="p")))
    assert not shortfall(present, vm("n"), Limits(group=GroupLimit(name="web", most=0)))


def test_of_a_running_vm_the_larger_counts_of_now_and_later() -> None:
    assert larger(vm("a", 2, 9), vm("a", 4, 3)) == vm("a", 4, 9)


def test_the_error_crosses_the_wire_as_a_refusal() -> None:
    error = from_code("no-room", "no room: 0 of 4 left")
    assert type(error) is NoRoomError
    assert isinstance(error, RefusedError)


PINNED = """<domain type='kvm'><name>tied</name><uuid>u</uuid><vcpu>2</vcpu><memory>1</memory>
<metadata><v:vm xmlns:v='urn:virtfleet:vm:1'><v:kept-free cpuset='5,7'/></v:vm></metadata>
<cputune><vcpupin vcpu='0' cpuset='4'/><vcpupin vcpu='1' cpuset='6'/></cputune><devices>
<hostdev mode='subsystem' type='pci'><source>
<address domain='0' bus='0x3b' slot='0' function='0'/></source></hostdev></devices></domain>"""


def test_cpus_and_devices_are_nobody_elses() -> None:
    there = promise_of(PINNED)
    assert (there.name, there.cpus, there.devices) == ("tied", (4, 5, 6, 7), ("0000:3b:00.0",))
    limits = Limits(vcpus=9, cpus=(3, 4, 5), devices=("0000:3b:00.0", "0000:3b:00.1"))
    new = alone(promise_of(XML), limits)
    assert shortfall([there], new, limits) == [
        "tied has CPU 4-5 for itself",
        "tied has device 0000:3b:00.0",
    ]
    assert shortfall([replace(there, uuid=new.uuid)], new, limits) == []
    # Who says what he is given only by his XML asks for nothing.
    assert shortfall([there], alone(replace(there, uuid="b"), Limits()), Limits()) == []
    assert larger(there, replace(there, cpus=(8,), devices=("x",))).cpus == (4, 5, 6, 7, 8)
    assert larger(there, replace(there, cpus=(8,), devices=("x",))).devices == ("0000:3b:00.0", "x")
    assert Limits(cpus=(1,)).detailed
    assert Limits(devices=("x",)).detailed
    assert not Limits(vcpus=1).detailed


# ---- who steps back


def test_the_first_waits_and_the_second_steps_back() -> None:
    limits = Limits(vcpus=2)
    present = [vm("base"), vm("a", mark="x"), vm("b", mark="y")]
    assert verdict(present, present[1], limits) is Verdict.WAIT
    assert verdict(present, present[2], limits) is Verdict.BACK
    assert verdict(present[:2], present[1], limits) is Verdict.STAY
    assert verdict(present, present[1], Limits(vcpus=3)) is Verdict.STAY


def test_nobody_waits_for_who_is_no_more() -> None:
    limits = Limits(vcpus=2)
    present = [vm("base"), vm("a", mark="x"), vm("b", mark="y")]
    assert verdict(present, present[1], limits, stale={"y"}) is Verdict.BACK
    assert verdict(present, present[2], limits, stale={"x"}) is Verdict.BACK


def test_a_small_one_behind_a_large_one_that_has_no_room_is_let_in() -> None:
    present = [vm("a", 5, mark="x"), vm("b", 1, mark="y")]
    assert verdict(present, present[0], Limits(vcpus=4)) is Verdict.BACK
    assert verdict(present, present[1], Limits(vcpus=4)) is Verdict.WAIT


class Claimant:
    """One operator who claims for one VM, a step at a time: any other may act between any two of them."""

    def __init__(self, host: dict[str, Promise], want: Promise, limits: Limits) -> None:
        self._host, self._want, self._limits = host, want, limits
        self._was = host.get(want.uuid)
        self._phase = "asks"
        self._says = Verdict.WAIT
        self.got: bool | None = None

    def step(self) -> None:
        """Does its next step; what it decided may be old by then."""
        match self._phase:
            case "asks":
                if hopeless(list(self._host.values()), self._want, self._limits):
                    self.got = False
                self._phase = "defines"
            case "defines":
                before = None if self._was is None else (self._was.vcpus, self._was.memory)
                self._want = replace(self._want, mark=f"mark-{self._want.uuid}", before=before)
                self._host[self._want.uuid] = self._want
                self._phase = "looks"
            case "looks":
                self._says = verdict(list(self._host.values()), self._want, self._limits)
                self._phase = "acts"
            case _:
                self._phase = "looks"
                if self._says is Verdict.STAY:
                    self.got = True
                    self._host[self._want.uuid] = replace(self._want, mark="", before=None)
                elif self._says is Verdict.BACK:
                    self.got = False
                    if self._was is None:
                        del self._host[self._want.uuid]
                    else:
                        self._host[self._want.uuid] = self._was


_CLAIMANTS = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4), st.booleans()), min_size=1, max_size=5)


@given(_CLAIMANTS, st.integers(0, 9), st.lists(st.integers(0, 4), max_size=60))
@example([(0, 2, False), (0, 2, False)], 2, [0, 1, 0, 1, 0, 1, 0, 1])
@example([(0, 2, False), (0, 2, False)], 2, [1, 1, 1, 0, 0, 0, 1, 0])
def test_whatever_the_order_the_host_is_never_over_and_somebody_gets_in(
    claims: list[tuple[int, int, bool]], room: int, order: list[int]
) -> None:
    """`claims`: what it has, how much more it wants, whether it is there already; `room`: what is left."""
    names = [f"{number * 7 % 5}" for number in range(len(claims))]  # not in the order in which they come
    host = {name: vm(name, had + 1) for name, (had, _, there) in zip(names, claims, strict=True) if there} | {
        "base": vm("base", 3)
    }
    limits = Limits(vcpus=sum(each.vcpus for each in host.values()) + room)
    wants = [
        vm(name, (had + 1 if there else 0) + more)
        for name, (had, more, there) in zip(names, claims, strict=True)
    ]
    claimants = [Claimant(host, want, limits) for want in wants]
    for number in [*order, *list(range(len(claimants))) * 20]:
        if number < len(claimants) and claimants[number].got is None:
            claimants[number].step()
    got = [each.got for each in claimants]
    assert None not in got, "all come to an end"
    assert sum(each.vcpus for each in host.values()) <= (limits.vcpus or 0)
    for want, answer in zip(wants, got, strict=True):
        assert not answer or host[want.uuid] == want
    if any(more <= room for _, more, _ in claims):
        assert any(got), "not all step back when one fits"


@given(
    st.lists(st.sets(st.integers(0, 3), min_size=1, max_size=2), min_size=2, max_size=4),
    st.lists(st.integers(0, 3), max_size=40),
)
@example([{0}, {0}], [0, 1, 0, 1, 0, 1, 0, 1])
@example([{0}, {0, 1}, {1}], [1, 1, 0, 0, 2, 2, 1, 0, 2])
def test_whatever_the_order_no_cpu_is_had_twice_and_somebody_gets_it(
    wanted: list[set[int]], order: list[int]
) -> None:
    names = [f"{number * 7 % 5}" for number in range(len(wanted))]
    host: dict[str, Promise] = {}
    claimants = [
        Claimant(
            host,
            replace(vm(name), cpus=tuple(sorted(cpus))),
            Limits(vcpus=9, cpus=tuple(sorted(cpus))),
        )
        for name, cpus in zip(names, wanted, strict=True)
    ]
    for number in [*order, *list(range(len(claimants))) * 20]:
        if number < len(claimants) and claimants[number].got is None:
            claimants[number].step()
    got = [each.got for each in claimants]
    assert None not in got, "all come to an end"
    given_away = [cpu for each in host.values() for cpu in each.cpus]
    assert len(given_away) == len(set(given_away))
    assert set(host) == {name for name, answer in zip(names, got, strict=True) if answer}
    assert any(got), "not all step back"
