"""Messages survive the wire however the stream is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtfleet.hypervisor import wire
from virtfleet.model import HostState, HostStats, VmState, VmStats

MESSAGES: list[wire.FromWorker] = [
    wire.Status(HostState.HUNG, "libvirtd does not answer", "restart it"),
    wire.Sample(12.5, HostStats(cpu_pct=3.0), [VmStats("u1", VmState.RUNNING, cpu_pct=50.0)], (0.1,), 2),
    wire.Vms((), ("gone",), full=True),
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


def test_a_stream_that_is_not_ours_is_refused() -> None:
    with pytest.raises(ValueError, match="frame of"):
        wire.Frames().feed(b"SSH-2.0-OpenSSH")


def test_an_answer_does_not_show_in_a_repr() -> None:
    assert "hunter2" not in repr(wire.PromptAnswer(1, "hunter2"))
