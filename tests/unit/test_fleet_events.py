"""The event log: bounded, filtered, newest last."""

from __future__ import annotations

import pytest

from virtfleet.fleet.events import EventLog
from virtfleet.model import Event


def event(n: int, host: str = "hv1", kind: str = "vm", name: str = "web", uuid: str = "") -> Event:
    return Event(time=float(n), host=host, kind=kind, name=name, what="started", uuid=uuid)


def test_keeps_the_newest_and_gives_them_newest_last() -> None:
    log = EventLog(capacity=5)
    for n in range(8):
        log.add(event(n))
    assert [e.time for e in log] == [3, 4, 5, 6, 7]
    assert [e.time for e in log.recent(2)] == [6, 7]
    assert log.recent(0) == []
    assert len(log.recent()) == len(log) == 5


def test_everything_given_must_be_equal() -> None:
    log = EventLog()
    log.add(event(1, host="hv1", name="web", uuid="u1"))
    log.add(event(2, host="hv2", name="web", uuid="u2"))
    log.add(event(3, host="hv1", kind="pool", name="web"))
    log.add(event(4, host="hv1", name="db", uuid="u3"))
    assert [e.time for e in log.recent(name="web")] == [1, 2, 3]
    assert [e.time for e in log.recent(host="hv1", kind="vm")] == [1, 4]
    assert [e.time for e in log.recent(uuid="u2")] == [2]
    assert [e.time for e in log.recent(limit=1, host="hv1", name="web")] == [3]
    assert log.recent(host="hv9") == []


def test_subscribers_hear_each_event_until_they_leave() -> None:
    log = EventLog()
    heard: list[float] = []
    leave = log.subscribe(lambda e: heard.append(e.time))
    log.add(event(1))
    leave()
    leave()
    log.add(event(2))
    assert heard == [1]


def test_one_broken_subscriber_does_not_cost_the_others(caplog: pytest.LogCaptureFixture) -> None:
    log = EventLog()
    heard: list[float] = []

    def broken(_: Event) -> None:
        raise RuntimeError("broken")

    log.subscribe(broken)
    log.subscribe(lambda e: heard.append(e.time))
    log.add(event(1))
    assert heard == [1]
    assert "a subscriber of events failed" in caplog.text
