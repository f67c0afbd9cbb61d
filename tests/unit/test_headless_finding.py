"""How objects are named: NAME, NAME@HOST, UUID, POOL/VOLUME; what is ambiguous and what is near."""

from __future__ import annotations

import pytest

from unit.query_objects import fleet, host, pool, vm
from virtfleet.errors import AmbiguousError, NotFoundError
from virtfleet.headless.finding import Wanted, find, find_all, hosts_to_ask, label, wanted
from virtfleet.model import Network, Volume
from virtfleet.query.nouns import NOUNS

UUID = "0a1b2c3d-0000-4000-8000-000000000001"
SHARED = pool("nfs", identity="netfs:server:/export")
FLEET = fleet(
    host(
        "hv1",
        vms=(vm("web", uuid=UUID), vm("db"), vm("odd@hv9")),
        pools=(pool("default", identity="local:hv1:/d"), SHARED),
        volumes=(Volume(pool="default", name="disk", path="/d/disk"),),
        networks=(Network(uuid="net-1", name="default", active=True),),
    ),
    host(
        "hv2",
        vms=(vm("web", uuid="u2"),),
        pools=(pool("default", identity="local:hv2:/d"), SHARED),
        volumes=(Volume(pool="default", name="disk", path="/d/disk"),),
    ),
)


def found(noun: str, text: str) -> str:
    made = NOUNS[noun]
    return label(find(made, list(made.rows(FLEET)), wanted(text, FLEET.hosts)))


@pytest.mark.parametrize(
    ("noun", "text", "expected"),
    [
        ("vm", "db", "db@hv1"),
        ("vm", "web@hv2", "web@hv2"),
        ("vm", UUID, "web@hv1"),
        ("vm", UUID.upper(), "web@hv1"),
        ("vm", "odd@hv9", "odd@hv9@hv1"),
        ("vm", "odd@hv9@hv1", "odd@hv9@hv1"),
        ("host", "hv2", "hv2"),
        ("pool", "nfs", "nfs@hv1"),
        ("pool", "nfs@hv2", "nfs@hv1"),
        ("pool", "default@hv2", "default@hv2"),
        ("volume", "default/disk@hv2", "default/disk@hv2"),
        ("network", "net-1", "default@hv1"),
    ],
)
def test_found(noun: str, text: str, expected: str) -> None:
    assert found(noun, text) == expected


def test_an_ambiguous_name_lists_the_candidates() -> None:
    with pytest.raises(AmbiguousError) as caught:
        found("vm", "web")
    assert str(caught.value) == "2 vms are called web: web@hv1, web@hv2"
    with pytest.raises(AmbiguousError, match="2 volumes are called disk: default/disk@hv1, default/disk@hv2"):
        found("volume", "disk")


@pytest.mark.parametrize(
    ("text", "message", "cure"),
    [
        ("wed", "no vm wed", "did you mean web?"),
        ("db@hv2", "no vm db@hv2", "there is db@hv1"),
        ("web@hv3", "no host hv3 in this fleet", "there is web@hv1 and web@hv2"),
        ("", "no vm ", ""),
    ],
)
def test_not_found(text: str, message: str, cure: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        found("vm", text)
    assert str(caught.value) == message
    assert caught.value.cure == cure


def test_only_the_hosts_that_are_named_are_asked() -> None:
    def asked(noun: str, *texts: str) -> object:
        return hosts_to_ask(NOUNS[noun], [wanted(text, FLEET.hosts) for text in texts], FLEET.hosts)

    assert asked("vm", "web@hv1") == {"hv1"}
    assert asked("vm", "web@hv1", "db@hv2") == {"hv1", "hv2"}
    assert asked("vm", "web@hv1", "db") is None
    assert asked("host", "hv2", "hv7") == {"hv2"}


def test_what_is_found_is_kept_beside_the_errors() -> None:
    noun = NOUNS["vm"]
    rows, errors = find_all(noun, list(noun.rows(FLEET)), [Wanted("db", "db", ""), Wanted("x", "x", "")])
    assert [label(row) for row in rows] == ["db@hv1"]
    assert [str(error) for error in errors] == ["no vm x"]
