"""The pure parts of the console's panels: facts, troubles, highlighting, wrapping, columns."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tui.feeder import host, pool, small_fleet, vm
from virtfleet.model import HostState, PoolState, VmState, Volume
from virtfleet.query.rows import HostRow, PoolRow, VmRow, VolumeRow
from virtfleet_tui.panels.columns import columns_of
from virtfleet_tui.panels.facts import facts_of
from virtfleet_tui.panels.facts_view import _wrapped
from virtfleet_tui.panels.nouns import LISTED, find, subject_of
from virtfleet_tui.panels.troubles import troubles_of
from virtfleet_tui.panels.xml_view import highlighted


@given(st.text(alphabet=st.characters(blacklist_characters="\n"), max_size=200))
def test_highlighting_keeps_the_text(line: str) -> None:
    assert "".join(text for text, _ in highlighted(line)) == line


def test_highlighting_is_quick_on_what_is_meant_to_be_slow() -> None:
    line = "<!--" * 490
    assert "".join(text for text, _ in highlighted(line)) == line
    assert highlighted("<a" * 5000) == [("<a" * 5000, "")]


@given(
    st.lists(st.tuples(st.text(alphabet="ab /-漢", min_size=1, max_size=30), st.just("")), max_size=4),
    st.integers(min_value=4, max_value=40),
)
def test_wrapping_loses_nothing_but_blanks(pieces: list[tuple[str, str]], width: int) -> None:
    lines = _wrapped(pieces, width)
    kept = "".join(text for line in lines for text, _ in line)
    assert kept.replace(" ", "") == "".join(text for text, _ in pieces).replace(" ", "")


@pytest.mark.parametrize("kind", sorted(LISTED))
def test_every_row_has_facts_and_is_found_again(kind: str) -> None:
    snapshot = small_fleet().snapshot
    rows = list(LISTED[kind].rows(snapshot))
    assert rows
    for row in rows:
        subject = subject_of(row)
        assert subject.kind == kind
        assert find(snapshot, subject) == row
        sections = facts_of(row, time.monotonic())
        assert sections
        assert all(section.facts for section in sections)


def test_what_nobody_wrote_is_left_out_and_what_is_not_told_is_said() -> None:
    row = VmRow(host("hv1"), vm(1, project="", cpu=5))
    facts = {
        fact.label: "".join(text for text, _ in fact.pieces)
        for section in facts_of(row, 0.0)
        for fact in section.facts
    }
    assert "project" not in facts
    assert facts["operations"] == "—"
    assert facts["memory"] == "2.0G of 4.0G  50 %"


def test_troubles_name_the_host_and_the_cure() -> None:
    now = time.monotonic()
    hung = host("hv1", [vm(1)], state=HostState.HUNG, reason="no answer", cure="look", age=20)
    (own,) = troubles_of(HostRow(hung), now)
    assert own.text.startswith("libvirtd does not answer")
    assert own.cure == "look"
    (of_vm,) = troubles_of(VmRow(hung, hung.vms[0]), now)
    assert of_vm.text.startswith("its host hv1: ")
    assert troubles_of(VmRow(host("hv2"), vm(2)), now) == []
    (crashed,) = troubles_of(VmRow(host("hv2"), vm(2, state=VmState.CRASHED)), now)
    assert (crashed.text, crashed.meaning) == ("crashed", "bad")
    broken = pool("hv2", state=PoolState.INACCESSIBLE)
    (storage,) = troubles_of(PoolRow("x", ((host("hv2"), broken),)), now)
    assert storage.text == "inaccessible"


def test_pairs_show_both_and_sort_by_their_sum() -> None:
    fields = {field.name: field for field in columns_of("vm", LISTED["vm"].noun.fields)}
    row = VmRow(host("hv1"), vm(1))
    off = VmRow(host("hv1"), vm(2, state=VmState.SHUTOFF))
    disk = fields["disk_both"]
    assert disk.glance is not None
    assert disk.glance(row) == "1.4M/3.1M"
    assert disk.key(row) == 4.7e6
    assert (disk.glance(off), disk.key(off)) == ("—", None)


def test_memory_is_the_guests_or_unknown() -> None:
    fields = {field.name: field for field in columns_of("vm", LISTED["vm"].noun.fields)}
    memory = fields["memory_both"]
    assert memory.glance is not None
    booting = vm(1)
    booting = replace(booting, stats=replace(booting.stats, memory_used=None))
    assert memory.glance(VmRow(host("hv1"), vm(1))) == "2.0G/4.0G"
    assert memory.glance(VmRow(host("hv1"), booting)) == "—/4.0G"
    assert memory.key(VmRow(host("hv1"), booting)) is None


def test_words_are_not_cut_where_there_is_a_blank() -> None:
    def lines(text: str, width: int) -> list[str]:
        return ["".join(text for text, _ in line) for line in _wrapped([(text, "")], width)]

    assert lines("Debian GNU/Linux 12 (bookworm)", 20) == ["Debian GNU/Linux 12 ", "(bookworm)"]
    assert lines("aeb7808a-f728-5ab8", 10) == ["aeb7808a-f", "728-5ab8"]
    assert lines("one two", 3) == ["one", "two"]


def test_small_sizes_and_single_things_are_named_right() -> None:
    facts = {
        fact.label: "".join(text for text, _ in fact.pieces)
        for row in (
            VolumeRow(host("hv1"), Volume("default", "tiny", capacity=37, allocation=512), "x"),
            HostRow(host("hv1")),
        )
        for section in facts_of(row, 0.0)
        for fact in section.facts
    }
    assert facts["size"] == "37 bytes"
    assert facts["cpus"] == "16  1 socket, 8 cores, 2 threads"


@pytest.mark.parametrize(
    ("word", "name"), [("cpu", "cpu_pct"), ("CPU", "cpu_pct"), ("disk_b", "disk_both"), ("nosuch", None)]
)
def test_columns_are_called_as_people_call_them(word: str, name: str | None) -> None:
    assert LISTED["vm"].named(word) == name
