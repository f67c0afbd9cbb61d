"""A reboot's stop and start are shown as one; a stop that nothing follows is shown, later."""

from __future__ import annotations

import time

import libvirt
from hypothesis import given
from hypothesis import strategies as st

from virtfleet.hypervisor.happenings import HOLD_STOPS, Coalescer, Raw, Registration, start_event_loop


def raw(what: str, detail: str = "", uuid: str = "u1") -> Raw:
    return Raw("vm", uuid, "web", what, detail)


def test_a_stop_and_a_start_become_a_restart() -> None:
    made = Coalescer()
    assert made.feed(raw("stopped", "shut down"), 0.0) == []
    assert made.feed(raw("started"), 0.4) == [raw("restarted", "shut down")]
    assert made.due(99.0) == []


def test_a_stop_alone_is_shown_when_its_time_is_up() -> None:
    made = Coalescer()
    stop = raw("stopped", "powered off")
    made.feed(stop, 10.0)
    assert made.due(10.0 + HOLD_STOPS - 0.1) == []
    assert made.next_due == 10.0 + HOLD_STOPS
    assert made.due(10.0 + HOLD_STOPS) == [stop]
    assert made.next_due is None


def test_a_crash_is_never_held_back() -> None:
    crash = raw("stopped", "crashed")
    assert Coalescer().feed(crash, 0.0) == [crash]


def test_other_vms_do_not_mix() -> None:
    made = Coalescer()
    made.feed(raw("stopped", "shut down", "u1"), 0.0)
    started = raw("started", "", "u2")
    assert made.feed(started, 0.1) == [started]


def test_an_undefine_after_a_stop_shows_both_in_order() -> None:
    made = Coalescer()
    stop = raw("stopped", "powered off")
    made.feed(stop, 0.0)
    gone = raw("undefined")
    assert made.feed(gone, 0.1) == [stop, gone]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["started", "stopped", "defined", "suspended"]), st.sampled_from(["u1", "u2"])
        )
    )
)
def test_nothing_is_lost(sequence: list[tuple[str, str]]) -> None:
    """Every event comes out once, a stop and its start counting as one restart."""
    made = Coalescer()
    out = []
    for at, (what, uuid) in enumerate(sequence):
        out += made.feed(raw(what, "shut down" if what == "stopped" else "", uuid), float(at))
        out += made.due(float(at))
    out += made.due(1e9)
    restarts = sum(each.what == "restarted" for each in out)
    assert len(out) + restarts == len(sequence)


def test_a_connection_is_freed_when_its_registrations_are_undone() -> None:
    start_event_loop()
    connection = libvirt.open("test:///default")
    registration = Registration(connection, lambda raw: None)
    assert registration.kinds == {"vm", "network", "pool"}
    registration.undo()
    assert connection.close() == 0, "references left to it"


def test_claims_of_jobs_are_no_news() -> None:
    start_event_loop()
    told: list[str] = []
    conn = libvirt.open("test:///default")
    registration = Registration(conn, lambda raw: told.append(raw.what))
    domain = conn.lookupByName("test")
    element = libvirt.VIR_DOMAIN_METADATA_ELEMENT
    for namespace, tag in (("urn:virtfleet:job:1", "job"), ("urn:virtfleet:vm:1", "vm")):
        domain.setMetadata(element, f"<{tag}/>", tag, namespace, libvirt.VIR_DOMAIN_AFFECT_LIVE)
    until = time.monotonic() + 10
    while len(told) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    registration.undo()
    conn.close()
    assert told == ["refreshed", "metadata changed"]
