"""Messages survive the wire however the stream is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtfleet.hypervisor import wire
from virtfleet.model import (
    CellPages,
    GuestKind,
    HostFacts,
    HostState,
    HostStats,
    NumaCell,
    PciDevice,
    VmState,
    VmStats,
)

FACTS = HostFacts(
    numa=(NumaCell(0, 1 << 34, 2, (0, 1), ((0, 1),), (CellPages(4096, 9), CellPages(2 << 20, 4, 2))),),
    guests=(GuestKind("x86_64", "hvm", ("kvm",), ("pc-q35-7.2", "q35")),),
    cpu_models=("EPYC-Rome", "qemu64"),
    cpu_features=("avx512f",),
    pci=(PciDevice("0000:3b:00.0", "10de", "1eb8", "030200", 1, "vfio-pci", 33, "0000:3b:00.1"),),
)
MESSAGES: list[wire.FromWorker] = [
    wire.Status(HostState.HUNG, "libvirtd does not answer", "restart it"),
    wire.Sample(12.5, HostStats(cpu_pct=3.0), [VmStats("u1", VmState.RUNNING, cpu_pct=50.0)], (0.1,), 2),
    wire.Vms((), ("gone",), full=True),
    wire.Facts(FACTS),
    wire.Response(7, {"a": [1, 2]}),
    wire.Pong(3),
]


@given(st.lists(st.integers(min_value=1, max_value=60), max_size=40))
def test_frames_come_out_whole_however_they_arrive(cuts: list[int]) -> None:
    stream = b"".join(wire.encode(message) for message in MESSAGES)
    frames = wire.Frames()
    found = []
    at = 0
    for cut in [*cuts, len(stream)]:
        found += frames.feed(stream[at : at + cut])
        at += cut
    assert [wire.decode_from_worker(body) for body in found] == MESSAGES


def test_the_same_words_of_many_hosts_are_kept_once() -> None:
    body = wire.encode(wire.Facts(FACTS))[4:]
    one, two = (wire.decode_from_worker(body) for _ in range(2))
    assert isinstance(one, wire.Facts)
    assert isinstance(two, wire.Facts)
    assert one.facts.guests[0].machines[0] is two.facts.guests[0].machines[0]
    assert one.facts.cpu_features[0] is two.facts.cpu_features[0]
    assert one.facts.pci is not None
    assert two.facts.pci is not None
    assert one.facts.pci[0].driver is two.facts.pci[0].driver


def test_a_stream_that_is_not_ours_is_refused() -> None:
    with pytest.raises(ValueError, match="frame of"):
        wire.Frames().feed(b"SSH-2.0-OpenSSH")


def test_an_answer_does_not_show_in_a_repr() -> None:
    assert "hunter2" not in repr(wire.PromptAnswer(1, "hunter2"))
