"""A VM's description is put together from its sources, and told only when it differs."""

from __future__ import annotations

from virtfleet.hypervisor.catalogue import Catalogue
from virtfleet.model import VmInfo, VmNic

WEB = VmInfo("u1", "web", nics=(VmNic("52:54:00:AA:00:01"),))
DB = VmInfo("u2", "db", autostart=True)


def catalogue() -> Catalogue:
    made = Catalogue()
    made.described([WEB, DB])
    made.changed()
    return made


def test_only_what_changed_is_told() -> None:
    made = catalogue()
    assert made.changed() == ()
    made.described([VmInfo("u2", "db2", autostart=True)])
    assert [info.name for info in made.changed()] == ["db2"]
    assert made.changed() == ()


def test_the_guests_own_word_on_its_address_wins() -> None:
    made = catalogue()
    made.addresses("arp", {"52:54:00:aa:00:01": ("10.0.0.9",)})
    assert made.changed()[0].nics[0].addresses == ("10.0.0.9",)
    made.addresses("lease", {"52:54:00:aa:00:01": ("10.0.0.7",)})
    assert made.changed()[0].nics[0].address_source == "lease"
    made.addresses("agent", {"52:54:00:aa:00:01": ("10.0.0.1", "fe80::1")})
    told = made.changed()[0]
    assert (told.addresses, told.nics[0].address_source) == (("10.0.0.1", "fe80::1"), "agent")


def test_an_address_that_is_gone_is_gone() -> None:
    made = catalogue()
    made.addresses("lease", {"52:54:00:aa:00:01": ("10.0.0.7",)})
    made.changed()
    made.addresses("lease", {})
    assert made.changed()[0].addresses == ()


def test_bulk_lists_overrule_until_a_newer_description() -> None:
    made = catalogue()
    made.autostart(["u1"])
    assert {info.name: info.autostart for info in made.changed()} == {"web": True, "db": False}
    made.described([DB])
    assert [(info.name, info.autostart) for info in made.changed()] == [("db", True)]


def test_snapshots_are_zero_for_those_not_named() -> None:
    made = catalogue()
    made.snapshots({"u2": 3})
    assert {info.name: info.snapshots for info in made.changed()} == {"web": 0, "db": 3}
    made.snapshots({})
    assert {info.name: info.snapshots for info in made.changed()} == {"db": 0}


def test_forgotten_vms_are_told_anew_when_they_return() -> None:
    made = catalogue()
    made.forget(["u1"])
    assert "u1" not in made
    made.described([WEB])
    assert [info.name for info in made.changed()] == ["web"]


def test_everything_after_a_reconnect() -> None:
    made = catalogue()
    assert {info.name for info in made.everything()} == {"web", "db"}


def test_a_guest_is_believed_about_its_own_cards_alone() -> None:
    made = catalogue()
    made.agent("u2", {"52:54:00:aa:00:01": ("6.6.6.6",)})
    assert made.changed() == ()
    made.agent("u1", {"52:54:00:aa:00:01": ("10.0.0.1",), "00:00:00:00:00:00": ("127.0.0.1",)})
    assert [info.addresses for info in made.changed()] == [("10.0.0.1",)]


def test_what_an_agent_said_is_forgotten_with_it() -> None:
    made = catalogue()
    made.agent("u1", {"52:54:00:aa:00:01": ("10.0.0.1",)})
    made.changed()
    made.forget_agent("u1")
    assert [info.addresses for info in made.changed()] == [()]
    made.agent("u1", {"52:54:00:aa:00:01": ("10.0.0.1",)})
    made.forget(["u1"])
    made.described([WEB])
    assert [info.addresses for info in made.changed()] == [()]
