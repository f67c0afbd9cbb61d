"""Changes of a VM's metadata: each has an inverse, and what we don't know survives."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from virtfleet.hypervisor.views.vmdata import JOB, VM, Claim, changed, claim_of, claim_xml, made, namespaced

_WORD = st.text("abcxyz-", min_size=1, max_size=6)
_CHANGE = st.fixed_dictionaries(
    {},
    optional={
        "set": st.fixed_dictionaries(
            {}, optional={"project": st.just("") | _WORD, "group": _WORD, "protected": st.booleans()}
        ),
        "add_tags": st.lists(_WORD, max_size=3),
        "remove_tags": st.lists(_WORD, max_size=3),
    },
)


def facts(xml: str | None) -> dict[str, Any]:
    root = etree.fromstring(xml) if xml else etree.Element("vm")
    return {
        "tags": {each.text for each in root.findall("tag")},
        **{each.tag: each.text for each in root if each.tag != "tag"},
    }


@given(_CHANGE, _CHANGE)
def test_a_change_and_its_inverse_leave_all_as_it_was(first: dict[str, Any], second: dict[str, Any]) -> None:
    before, _ = changed(None, first)
    after, inverse = changed(before, second)
    back, _ = changed(after, inverse)
    assert facts(back) == facts(before)


@given(_CHANGE)
def test_what_is_unknown_survives(change: dict[str, Any]) -> None:
    after, _ = changed('<vm><future a="1"><deep/></future><o:x xmlns:o="urn:o">y</o:x></vm>', change)
    assert after is not None
    root = etree.fromstring(after)
    assert root.find("future/deep") is not None
    assert root.findtext("{urn:o}x") == "y"


def test_hostile_words_become_one_clean_line() -> None:
    after, _ = changed(None, {"set": {"project": "a\nb\x1b[2J<x/>"}, "add_tags": ["x" * 999]})
    assert after is not None
    root = etree.fromstring(after)
    assert len(root) == 2
    assert "\x1b" not in (root.findtext("project") or "")
    assert len(root.findtext("tag") or "") <= 200


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(ValueError, match="no 'owner'"):
        changed(None, {"set": {"owner": "x"}})


def test_a_claim_is_read_as_it_was_written() -> None:
    claim = Claim(id="j1", verb="vm.resize", who="a@b", since=100.0, until=200.0)
    assert claim_of(claim_xml(claim)) == claim
    assert claim_of("<job until='soon'/>") is None
    assert claim_of(None) is None
    assert "a@b is working on it: vm.resize, job j1" in claim.says("12:00")


def test_in_a_domain_it_has_our_namespace() -> None:
    plain = made({"project": "p", "flavor": ""}, ["t"], protected=True)
    assert plain is not None
    element = namespaced(plain, VM, "virtfleet")
    assert [each.tag for each in element] == [f"{{{VM}}}project", f"{{{VM}}}protected", f"{{{VM}}}tag"]
    assert made({"project": ""}, [], protected=False) is None
    assert (
        namespaced(claim_xml(Claim(id="j", verb="v", who="w", since=1, until=2)), JOB, "j").get("id") == "j"
    )
