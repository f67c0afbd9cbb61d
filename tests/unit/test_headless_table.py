"""Tables: what fits, what goes first, what is never cut, and how stale rows look."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from unit.query_objects import GIB, NOW, fleet, host, vm
from virtfleet.headless.card import card
from virtfleet.headless.table import Style, render
from virtfleet.model import Freshness, HostFacts, HostState, HostStats, Vm, VmState
from virtfleet.query.clock import Clock
from virtfleet.query.columns import default_columns, parse_columns
from virtfleet.query.display import cell_width
from virtfleet.query.nouns import NOUNS
from virtfleet.query.rows import HostRow

VM = NOUNS["vm"].with_clock(Clock.at(NOW, 0.0))
HV1 = host(vms=(vm("web-1", cpu=12.4, tags=("prod",)), vm("db-10", VmState.SHUTOFF), vm("仮想-3", cpu=100.0)))
ROWS = list(VM.rows(fleet(HV1)))


PLAIN = Style()


def table(columns: str, style: Style = PLAIN, rows: list[object] = ROWS) -> list[str]:
    return render(rows, parse_columns(columns, VM), VM, style, NOW)


def test_columns_align_by_cells_not_by_characters() -> None:
    assert table("name,state,cpu,tags", Style(chosen=True)) == [
        "NAME    STATE        CPU  TAGS",
        "web-1   ● running   12 %  prod",
        "db-10   ○ shutoff      —  —",
        "仮想-3  ● running  100 %  —",
    ]


def test_columns_that_nobody_chose_and_that_say_nothing_are_left_out() -> None:
    assert table("name,cpu,project,agent") == [
        "NAME      CPU",
        "web-1    12 %",
        "db-10       —",
        "仮想-3  100 %",
    ]


def test_no_header() -> None:
    assert table("name,vcpus", Style(header=False)) == ["web-1      2", "db-10      2", "仮想-3     2"]


def test_nothing_to_list_is_a_header() -> None:
    assert table("name,state", rows=[]) == ["NAME  STATE"]


def test_a_narrow_terminal_loses_the_least_important_columns() -> None:
    lines = render(ROWS, default_columns(VM), VM, Style(width=40), NOW)
    assert lines[0].split() == ["NAME", "HOST", "STATE", "CPU", "MEMORY"]
    assert max(map(cell_width, lines)) <= 40


def test_chosen_columns_are_never_left_out() -> None:
    lines = table("name,uuid,state,cpu,memory,host", Style(width=20, chosen=True))
    assert lines[0].split() == ["NAME", "UUID", "STATE", "CPU", "MEMORY", "HOST"]


def test_a_long_name_is_never_cut() -> None:
    name = "x" * 250
    rows = list(VM.rows(fleet(host(vms=(vm(name), vm("b"))))))
    lines = table("name,state", Style(width=60), rows)
    assert lines[1] == f"{name}  ● running"
    assert lines[2] == f"b{' ' * 39}  ● running"


def test_colour_paints_the_state_and_nothing_else() -> None:
    lines = table("name,state", Style(colour=True))
    assert lines[0] == "\x1b[1mNAME    STATE\x1b[0m"
    assert lines[1] == "web-1   \x1b[32m● running\x1b[0m"


def test_a_colourless_table_has_no_escape() -> None:
    assert not any("\x1b" in line for line in table("all"))


def test_rows_of_a_hung_host_are_dim_and_say_their_age() -> None:
    hung = host("hv2", HostState.HUNG, freshness=Freshness(stats=NOW - 14), vms=(vm("old"),))
    rows = list(VM.rows(fleet(HV1, hung)))
    lines = table("name,state", Style(colour=True, chosen=True), rows)
    assert lines[0] == "\x1b[1mNAME    STATE      STALE\x1b[0m"
    assert lines[1] == "web-1   \x1b[32m● running\x1b[0m"
    assert lines[4] == "\x1b[2mold     ● running    14s\x1b[0m"
    plain = table("name,state", Style(chosen=True), rows)
    assert [line.split()[-1] for line in plain] == ["STALE", "running", "shutoff", "running", "14s"]


def test_a_card_tells_what_is_known() -> None:
    fields = parse_columns("name,cpu,project,tags,agent", VM)
    assert card(ROWS[0], fields, Style()) == ["name     web-1", "cpu_pct  12 %", "tags     prod"]


def test_a_card_has_room_for_words() -> None:
    facts, stats = HostFacts(cpus=16, memory=64 * GIB), HostStats(memory_used=15139783049, uptime_s=445000.0)
    row = HostRow(host("hv1", facts=facts, stats=stats))
    assert card(row, parse_columns("uptime_s,memory,memory_used", NOUNS["host"]), Style()) == [
        "uptime_s     5 days and 3 hours",
        "memory       64.0 GiB",
        "memory_used  14.1 GiB (15,139,783,049 bytes)",
    ]


names = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=40)


@given(st.lists(names, min_size=1, max_size=5), st.integers(20, 200))
def test_lines_fit_and_names_are_whole(given_names: list[str], width: int) -> None:
    guests: tuple[Vm, ...] = tuple(vm(name, cpu=50.0, tags=(name,) * 3) for name in given_names)
    rows = list(VM.rows(fleet(host(vms=guests))))
    lines = render(rows, default_columns(VM), VM, Style(width=width), NOW)[1:]
    for line, name in zip(lines, given_names, strict=True):
        assert line.startswith(name)
        # Name, state and the two gaps between them may need more than there is; nothing else may.
        assert cell_width(line) <= max(width, max(cell_width(each) for each in given_names) + 2 + 15)
