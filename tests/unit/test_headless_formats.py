"""The envelope and its three forms: what scripts rely on."""

from __future__ import annotations

import json

import msgspec
import yaml

from unit.query_objects import NOW, fleet, host, vm
from virtfleet.headless.formats import envelope, item, plain, to_csv, to_json, to_yaml
from virtfleet.model import Freshness, HostState
from virtfleet.query.clock import Clock
from virtfleet.query.columns import parse_columns
from virtfleet.query.nouns import NOUNS

VM = NOUNS["vm"].with_clock(Clock.at(NOW, 0.0))
ROW = next(iter(VM.rows(fleet(host(vms=(vm('a,"b"', cpu=12.34567891, tags=("x", "y")),))))))
FIELDS = parse_columns("name,cpu,memory,tags,project,autostart,agent,age", VM)
ITEM = {
    "name": 'a,"b"', "cpu_pct": 12.345679, "memory": 1073741824, "tags": ["x", "y"], "project": None,
    "autostart": False, "agent": None, "age_s": 1.0,
}  # fmt: skip
HUNG = host("hv2", HostState.HUNG, reason="libvirtd does not answer", freshness=Freshness(stats=NOW - 14.5))
NEVER = host("hv3", HostState.UNREACHABLE, freshness=Freshness())
BODY = envelope("vm", [ITEM], [(HUNG, "libvirtd does not answer"), (NEVER, "no route")], NOW)
EXPECTED = {
    "kind": "vm",
    "items": [ITEM],
    "unreachable": [
        {"host": "hv2", "state": "hung", "reason": "libvirtd does not answer", "age_s": 14.5},
        {"host": "hv3", "state": "unreachable", "reason": "no route", "age_s": None},
    ],
}


def test_an_item_has_the_fields_names_and_plain_values() -> None:
    assert item(ROW, FIELDS) == ITEM


def test_no_number_is_null() -> None:
    assert [plain(value) for value in (float("nan"), float("inf"), None, True, ())] == [
        None,
        None,
        None,
        True,
        [],
    ]


def test_json_is_one_object_on_one_line_or_indented() -> None:
    line = to_json(BODY, pretty=False)
    assert line.count(b"\n") == 1
    assert json.loads(line) == EXPECTED
    assert list(json.loads(line)) == ["kind", "items", "unreachable"]
    assert json.loads(to_json(BODY, pretty=True)) == EXPECTED


def test_yaml_says_the_same() -> None:
    assert yaml.safe_load(to_yaml(BODY)) == EXPECTED


def test_csv() -> None:
    names = [field.name for field in FIELDS]
    assert to_csv([ITEM], names).decode() == (
        "name,cpu_pct,memory,tags,project,autostart,agent,age_s\n"
        '"a,""b""",12.345679,1073741824,x y,,false,,1.0\n'
    )
    assert to_csv([], names, header=False) == b""


def test_every_field_of_every_noun_fits_into_json() -> None:
    for noun in NOUNS.values():
        for row in noun.rows(fleet(host(vms=(vm(),)))):
            assert msgspec.json.decode(to_json(item(row, noun.fields), pretty=False)) == item(
                row, noun.fields
            )
