"""The filter language: what it finds, held against a slow obvious evaluator; what it says of mistakes."""

from __future__ import annotations

import fnmatch
import ipaddress
import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unit.query_objects import GIB, NOW, host, pool, row, vm
from virtfleet.errors import QueryError
from virtfleet.model import Event, Freshness, HostFacts, HostState, HostStats, Network, Severity, VmState
from virtfleet.query.clock import Clock
from virtfleet.query.filter import compile_filter
from virtfleet.query.nouns import NOUNS
from virtfleet.query.patterns import globber, searcher
from virtfleet.query.placement import CASES, CaseRow
from virtfleet.query.rows import HostRow, NetworkRow, PoolRow, VmRow

CLOCK = Clock.at(NOW, 0.0)
VM = NOUNS["vm"].with_clock(CLOCK)

ROWS = {
    "web-1": row(
        vm(
            "web-1",
            cpu=91.0,
            memory=4 * GIB,
            addresses=("10.0.0.7", "fd00::7"),
            tags=("web", "Prod"),
            project="shop",
        ),
        host("hv1", zone="a"),
    ),
    "web-2": row(
        vm("web-2", VmState.PAUSED, reason="ioerror", cpu=0.2, addresses=("10.0.1.7",), tags=("web",)),
        host("hv2", zone="b"),
    ),
    "db 1": row(
        vm("db 1", VmState.SHUTOFF, memory=8 * GIB, project="test", agent=False), host("hv10", zone="b")
    ),
    "[red]x": row(
        vm("[red]x", stuck=True, addresses=("10.0.33.1",), project="none", agent=True),
        host("far", HostState.HUNG, freshness=Freshness(stats=NOW - 90)),
    ),
}


def found(text: str) -> set[str]:
    matches = compile_filter(text, VM).matches
    return {name for name, each in ROWS.items() if matches(each)}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", "web-1 web-2 db_1 [red]x"),
        ("state=running", "web-1 [red]x"),
        ("STATE=Running,paused", "web-1 web-2 [red]x"),
        ("state!=running,paused", "db_1"),
        ("cpu>80", "web-1"),
        ("cpu > 80 %", ""),
        ("cpu>80%", "web-1"),
        ("cpu<=91", "web-1 web-2"),
        ("cpu=0", "web-2"),
        ("cpu!=0", "web-1"),
        ("!cpu=0", "web-1 db_1 [red]x"),
        ("cpu=none", "db_1 [red]x"),
        ("cpu=-", "db_1 [red]x"),
        ("cpu!=none", "web-1 web-2"),
        ("cpu=none,91", "web-1 db_1 [red]x"),
        ("memory>=4GiB", "web-1 db_1"),
        ("mem = 8G", "db_1"),
        ("mem:8G", "db_1"),
        ("name=web-*", "web-1 web-2"),
        ("name=WEB-?", "web-1 web-2"),
        ('name="web-*"', ""),
        ("name=[red]x", "[red]x"),
        ("name=[red]*", "[red]x"),
        ("vm=web-1,web-2", "web-1 web-2"),
        ('name="db 1"', "db_1"),
        ("name:EB", "web-1 web-2"),
        ("name~^w.*2$", "web-2"),
        (r"name~\d$", "web-1 web-2 db_1"),
        ("name~(1|2)$", "web-1 web-2 db_1"),
        ("(name~(1|2)$)", "web-1 web-2 db_1"),
        (r'name~"db \d"', "db_1"),
        ("name!~^web", "db_1 [red]x"),
        ("host~^hv", "web-1 web-2 db_1"),
        ("host>=hv2 host<hv11", "web-2 db_1"),
        ("ip=10.0.0.0/24", "web-1"),
        ("ip=10.0.0.0/16", "web-1 web-2 [red]x"),
        ("ip=fd00::/8", "web-1"),
        ("ip=FD00:0:0::7", "web-1"),
        ("ip=10.0.3", ""),
        ("ip=10.0", "web-1 web-2 [red]x"),
        ("ip:10.0.3", "[red]x"),
        ("ip=10.0.*.7", "web-1 web-2"),
        ("ip=10.0.1.7,10.0.33.1", "web-2 [red]x"),
        ("ip!=10.0.0.0/24", "web-2 db_1 [red]x"),
        ("ip=none", "db_1"),
        ("ip~7$", "web-1 web-2"),
        ("tag:prod", "web-1"),
        ("tag:w*", "web-1 web-2"),
        ("tag:we", ""),
        ("tags=none", "db_1 [red]x"),
        ("tag!=prod", "web-2 db_1 [red]x"),
        ("tag:web !project=shop", "web-2"),
        ("project!=test", "web-1 web-2 [red]x"),
        ("project=none", "web-2"),
        ('project="none"', "[red]x"),
        ("agent=yes", "[red]x"),
        ("agent=no,none", "web-1 web-2 db_1"),
        ("agent!=yes", "db_1"),
        ("is:agent", "[red]x"),
        ("is:fault", "web-2 [red]x"),
        ("fault=paused-ioerror", "web-2"),
        ("is:paused,shutoff", "web-2 db_1"),
        ("is:stale", "[red]x"),
        ("age>1m", "[red]x"),
        ("age<5s", "web-1 web-2 db_1"),
        ("web", "web-1 web-2"),
        ("HV1", "web-1 db_1"),
        ("10.0.0.7", "web-1"),
        ("fd00::7", "web-1"),
        ("52:54:00:00:00:01", ""),
        ("mac=52:54:00:00:00:01 web", "web-1 web-2"),
        ("prod", "web-1"),
        ("w*-2", "web-2"),
        ('"db 1"', "db_1"),
        ("db 1", "db_1"),
        ("web paused", "web-2"),
        ("[red]", "[red]x"),
        ("web-1 or web-2", "web-1 web-2"),
        ("web-1|web-2", "web-1 web-2"),
        ("web-1 || db", "web-1 db_1"),
        ("web and paused", "web-2"),
        ("not web", "db_1 [red]x"),
        ("not (web or db)", "[red]x"),
        ("!(web|db)", "[red]x"),
        ("! !web", "web-1 web-2"),
        ("web !paused or db", "web-1 db_1"),
        ("(web or db) state!=running", "web-2 db_1"),
        ("zone=b (cpu<1 or cpu=none)", "web-2 db_1"),
        ("networks=default", "web-1 web-2 db_1 [red]x"),
        ("vcpus>=2 vcpus<10k", "web-1 web-2 db_1 [red]x"),
    ],
)
def test_what_a_filter_finds(text: str, names: str) -> None:
    assert found(text) == {name.replace("_", " ") for name in names.split()}


def test_other_nouns() -> None:
    up = HostRow(host("hv1", facts=HostFacts(libvirt_version="10.0.0"), stats=HostStats(uptime_s=90000.0)))
    hung = HostRow(host("hv2", HostState.HUNG, facts=HostFacts(libvirt_version="9.0.0"), traits=("ssd",)))
    hosts = compile_filter("libvirt>=9.10 uptime>1d", "host").matches
    assert [hosts(each) for each in (up, hung)] == [True, False]
    assert compile_filter("is:hung trait:ssd is:fault is:stale", "host").matches(hung)

    full = PoolRow("x", ((host("hv1"), pool(used=95.0)), (host("hv2"), pool(used=95.0))))
    assert compile_filter("full>90 free<60G host:hv2 is:shared is:fault size>=900G", "pool").matches(full)

    net = NetworkRow(host(), Network(uuid="", name="nat", active=True, addresses=("192.168.122.1/24",)))
    assert compile_filter("ip=192.168.0.0/16 state=active ip=192.168.122.1", "network").matches(net)

    event = Event(time=0.0, host="hv1", kind="vm", name="web-1", what="crashed", severity=Severity.ERROR)
    assert compile_filter("severity=error crash", "event").matches(event)


@pytest.mark.parametrize(
    ("text", "column", "message", "cure"),
    [
        ("cpu>80 tagg:web", 7, "vms have no field 'tagg'", "Did you mean tag or tags?"),
        ("state=runing", 6, "vms have no state 'runing'", "Did you mean running?"),
        ("state=running,", 14, "a value is missing after '='", ""),
        ("is:falt", 3, "vms can't be 'falt'", "Did you mean fault?"),
        ("is:", 3, "a value is missing after ':'", ""),
        ("cpu>", 4, "a value is missing after '>'", ""),
        ("cpu>big", 4, "cpu_pct: 'big' is not a percentage", ""),
        ("cpu>4GiB", 4, "cpu_pct: '4GiB' is not a percentage", ""),
        ("mem>80%", 4, "memory: '80%' is not a size", ""),
        ("cpu>1,2", 6, "> takes one value, not a list", ""),
        ("cpu>none", 4, "unknown values have no order", ""),
        ("cpu~8", 0, "cpu_pct is a number: use", ""),
        ("tags>3", 0, "tags is a list: use", ""),
        ("agent>yes", 0, "agent is yes or no: use", ""),
        ("agent=maybe", 6, "agent is yes, no or none", ""),
        ("ip=10.0.0.0/40", 3, "'10.0.0.0/40' is not a network", ""),
        ("name~[", 5, "not a regular expression", ""),
        ("name~(a+)+b", 5, "this pattern could take too long", ""),
        ("name~" + "a" * 201, 5, "a pattern may have 200 characters", ""),
        ("a (b or", 7, "a term is missing after 'or'", ""),
        ("a (b", 2, "this is never closed", ""),
        ("a )", 2, "nothing is open", ""),
        ("()", 0, "there is nothing between", ""),
        ("or a", 0, "a term is missing before 'or'", ""),
        ("a or or b", 5, "a term is missing after 'or'", ""),
        ("and a", 0, "a term is missing before 'and'", ""),
        ("a and", 2, "a term is missing after 'and'", ""),
        ("a !", 3, "a term is missing here", ""),
        ("=5", 0, "a field is missing before '='", ""),
        ('name="abc', 5, "this quote is never closed", ""),
        ('name="a"b', 8, "a space is missing before 'b'", ""),
        ("a(b)", 1, "a space is missing before '('", ""),
        ("(" * 60 + "a", 41, "nested too deeply", ""),
        ("!" * 1000 + "a", 41, "nested too deeply", ""),
        ("x" * 2001, 2000, "a filter may have 2000 characters", ""),
    ],
)
def test_mistakes_are_pointed_at(text: str, column: int, message: str, cure: str) -> None:
    with pytest.raises(QueryError) as caught:
        compile_filter(text, VM)
    assert caught.value.message.startswith(message)
    assert (caught.value.text, caught.value.column) == (text, column)
    assert caught.value.cure.startswith(cure)
    lenient = compile_filter(text, VM, lenient=True)
    assert lenient.error is not None
    assert lenient.error.message == caught.value.message


@pytest.mark.parametrize(
    ("typed", "as_if"),
    [
        ("cpu>80 tag", "cpu>80 tag"),
        ("cpu>80 tag:", "cpu>80"),
        ("cpu>", ""),
        ("web cpu>x paused", "web paused"),
        ("state=run", ""),
        ("state=running,", "state=running"),
        ("(web or db", "web or db"),
        ("(web or", "web"),
        ("web or cpu>", "web"),
        ("!cpu>", ""),
        ("not (", ""),
        ('name="db', "name=db"),
        ("web) paused", "web paused"),
        ("name~(", ""),
        ("web and", "web"),
        ("=5 web", "web"),
    ],
)
def test_while_typing_what_is_complete_counts(typed: str, as_if: str) -> None:
    lenient = compile_filter(typed, VM, lenient=True)
    strict = compile_filter(as_if, VM)
    assert lenient.empty == strict.empty
    assert [lenient.matches(each) for each in ROWS.values()] == [
        strict.matches(each) for each in ROWS.values()
    ]


PIECES = [*'abcpuvm019 =!~<>:,|()"\\.*?-%[', " or ", "cpu", "tag:", "is:", "ip=", "name~", "not ", "and "]


@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_no_text_breaks_it(text: str) -> None:
    lenient = compile_filter(text, VM, lenient=True)
    found = [lenient.matches(each) for each in ROWS.values()]
    if lenient.error is None:
        strict = compile_filter(text, VM)
        assert found == [strict.matches(each) for each in ROWS.values()]
        return
    with pytest.raises(QueryError) as caught:
        compile_filter(text, VM)
    assert 0 <= caught.value.column <= len(text)


@given(st.text(max_size=40))
def test_any_name_is_found_by_itself_in_quotes(name: str) -> None:
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    one = row(vm(name))
    assert compile_filter(f'name="{quoted}"', VM).matches(one) == bool(name)
    assert compile_filter(f'"{quoted}"', VM).matches(one)


# ---- against an evaluator that is slow and obvious

Obvious = Callable[[VmRow], bool]
Case = tuple[str, Obvious]

NAMES = ["web-1", "web-2", "WEB-10", "db", "db 1", "x*y", "[a]", "or", "none", "ß"]
STATES = [VmState.RUNNING, VmState.PAUSED, VmState.SHUTOFF]
ADDRESSES = ["10.0.0.7", "10.0.1.7", "10.1.0.1", "fd00::7"]
TAGS = ["web", "Prod", "db"]

some_rows = st.lists(
    st.builds(
        lambda name, state, cpu, memory, ips, tags, project: row(
            vm(name, state, cpu=cpu, memory=memory, addresses=ips, tags=tags, project=project)
        ),
        st.sampled_from(NAMES),
        st.sampled_from(STATES),
        st.none() | st.floats(0, 100),
        st.integers(0, 16 * GIB),
        st.lists(st.sampled_from(ADDRESSES), max_size=2).map(tuple),
        st.lists(st.sampled_from(TAGS), max_size=2).map(tuple),
        st.sampled_from(["", "shop", "test"]),
    ),
    min_size=1,
    max_size=6,
)


def _quoted(text: str) -> str:
    return '"' + text + '"'


def _name_is(name: str) -> Case:
    return f"name={_quoted(name)}", lambda r: r.vm.name.casefold() == name.casefold()


def _glob(pattern: str) -> Case:
    return f"name={pattern}", lambda r: fnmatch.fnmatchcase(r.vm.name.casefold(), pattern.casefold())


def _regex(pattern: str) -> Case:
    return f"name~{pattern}", lambda r: re.search(pattern, r.vm.name, re.IGNORECASE) is not None


def _cpu(sign: str, bound: int) -> Case:
    def holds(r: VmRow) -> bool:
        cpu = r.vm.stats.cpu_pct
        if cpu is None:
            return False
        return {">": cpu > bound, ">=": cpu >= bound, "<": cpu < bound, "<=": cpu <= bound}[sign]

    return f"cpu{sign}{bound}", holds


def _memory(sign: str, gib: int) -> Case:
    def holds(r: VmRow) -> bool:
        memory = r.vm.stats.memory
        return {"=": memory == gib * GIB, "!=": memory != gib * GIB, ">=": memory >= gib * GIB}[sign]

    return f"memory {sign} {gib}GiB", holds


def _net(net: str) -> Case:
    network = ipaddress.ip_network(net)
    return f"ip={net}", lambda r: any(ipaddress.ip_address(each) in network for each in r.vm.info.addresses)


def _tag(tag: str) -> Case:
    return f"tag:{tag}", lambda r: tag.lower() in [each.lower() for each in r.vm.info.tags]


def _states(states: list[VmState]) -> Case:
    return f"state={','.join(states)}", lambda r: r.vm.state in states


def _project_is_not(name: str) -> Case:
    return f"project!={name}", lambda r: r.vm.info.project != name


def _free(word: str) -> Case:
    def holds(r: VmRow) -> bool:
        info = r.vm.info
        texts = [info.name, r.host.name, r.vm.state.value, *info.addresses, *info.tags, info.project]
        return any(word.casefold() in text.casefold() for text in texts)

    return word, holds


terms = st.one_of(
    st.sampled_from(NAMES).map(_name_is),
    st.sampled_from(["web-*", "*1", "?b", "*", "x?y", "w*-*"]).map(_glob),
    st.sampled_from(["^web", r"\d+$", "(web|db)", "^(?:web|db)-?1?0?$", "[a-e]b", "b|x"]).map(_regex),
    st.builds(_cpu, st.sampled_from([">", ">=", "<", "<="]), st.integers(0, 100)),
    st.builds(_memory, st.sampled_from(["=", "!=", ">="]), st.integers(0, 16)),
    st.sampled_from(["10.0.0.0/24", "10.0.0.0/8", "fd00::/64", "10.0.1.7/32"]).map(_net),
    st.sampled_from([*TAGS, "none-such"]).map(_tag),
    st.lists(st.sampled_from(STATES), min_size=1, max_size=3).map(_states),
    st.sampled_from(["shop", "test"]).map(_project_is_not),
    st.sampled_from(["web", "10.0", "prod", "hv1", "running", "sho"]).map(_free),
)


def _not(case: Case, sign: str) -> Case:
    text, holds = case
    return f"{sign}({text})", lambda r: not holds(r)


def _both(first: Case, second: Case, word: str) -> Case:
    return f"({first[0]}){word}({second[0]})", lambda r: first[1](r) and second[1](r)


def _either(first: Case, second: Case, word: str) -> Case:
    return f"{first[0]}{word}{second[0]}", lambda r: first[1](r) or second[1](r)


expressions = st.recursive(
    terms,
    lambda inner: st.one_of(
        st.builds(_not, inner, st.sampled_from(["!", "not ", "! "])),
        st.builds(_both, inner, inner, st.sampled_from([" ", " and ", ""])),
        st.builds(_either, inner, inner, st.sampled_from([" or ", " | ", " || ", " OR "])),
    ),
    max_leaves=8,
)


@given(expressions, some_rows)
def test_it_agrees_with_the_obvious(case: Case, rows: list[VmRow]) -> None:
    text, holds = case
    compiled = compile_filter(text, VM)
    assert not compiled.empty
    assert [compiled.matches(each) for each in rows] == [holds(each) for each in rows]
    assert compile_filter(text, VM, lenient=True).error is None


# ---- patterns


@pytest.mark.parametrize(
    "pattern",
    [
        r"(a+)+$",
        r"(a|aa)+$",
        r"(a*)*b",
        r"a.*b.*c.*d",
        r"(a?){60}a{60}",
        r"(.*)\1",
        r"((a+)b?)+",
        r"(?:(?:a?){3}){5}x",
        r"(?>a*a*)a*x",
        "(" * 300,
        "a{9999999999}",
    ],
)
def test_catastrophes_are_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"too long|refer back|regular expression|characters|deeply"):
        searcher(pattern)


@pytest.mark.parametrize(
    "pattern",
    [r"^hv\d+$", r"^web.*prod.*x", r"(foo|bar)-\d{1,3}", r"(\d{1,3}\.){3}\d{1,3}", r"[a-z]++-\w++-x", ""],
)
def test_ordinary_patterns_are_not(pattern: str) -> None:
    assert searcher(pattern)("nothing of it") is (pattern == "")


@given(st.text(alphabet="ab*?[]", max_size=12), st.text(alphabet="ab[]", max_size=12))
def test_globs(pattern: str, text: str) -> None:
    obvious = "".join({"*": ".*", "?": "."}.get(char, re.escape(char)) for char in pattern)
    assert globber(pattern)(text) == (re.fullmatch(obvious, text) is not None)


def test_a_clock_that_runs_is_asked_with_each_row() -> None:
    matches = compile_filter("age>1h", "vm").matches
    young, old = (host(freshness=Freshness(stats=time.monotonic() - age)) for age in (10, 7200))
    assert [matches(row(vm(), each)) for each in (young, old)] == [False, True]


def test_a_noun_without_a_clock_knows_no_ages() -> None:
    with pytest.raises(QueryError, match="no field 'age'"):
        compile_filter("age>1h", NOUNS["vm"])


def test_words_meet_lists_that_are_unknown() -> None:
    row = CaseRow("hv1", "", True, True, 1.0, (), (), (), ())
    assert CASES.field("reasons").get(row) is None  # type: ignore[union-attr] # it has that field
    assert [compile_filter(text, CASES).matches(row) for text in ("hv1", "memory", "mem*", "!memory")] == [
        True,
        False,
        False,
        True,
    ]


def test_short_words_reach_the_same_fields() -> None:
    noun: Any = NOUNS["vm"]
    assert {word: noun.field(word).name for word in ("cpu", "MEM", "ip", "tag", "vm", "net")} == {
        "cpu": "cpu_pct",
        "MEM": "memory",
        "ip": "addresses",
        "tag": "tags",
        "vm": "name",
        "net": "networks",
    }
