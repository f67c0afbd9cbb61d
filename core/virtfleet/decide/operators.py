"""Nova's operators for `capabilities:`, with its meanings, and what a host says of itself for them. Pure.

    =  ==  !=  >=  <=                as numbers; = means "at least"
    s==  s!=  s<  s<=  s>  s>=       as texts, by code points
    <in> x                           x is a part of the text, or one of the set
    <all-in> x y                     each of them is
    <or> x <or> y                    one of them is the text, exactly
    x                                is the text, exactly

Where Nova's filter fails with an error (a number wanted, a text found), the
host does not fit. A capability that a host does not tell never fits.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable

from virtfleet.config.extra_specs import NUMERIC, Requirement
from virtfleet.model import HostView
from virtfleet.model.host import HostFacts

Value = str | int | float | bool | frozenset[str]

_NUMBERS: dict[str, Callable[[float, float], bool]] = {
    "=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
}
_TEXTS: dict[str, Callable[[str, str], bool]] = {
    "s==": operator.eq,
    "s!=": operator.ne,
    "s<": operator.lt,
    "s<=": operator.le,
    "s>": operator.gt,
    "s>=": operator.ge,
}


def match(value: Value | None, requirement: Requirement) -> bool:
    """Whether `value`, as the host tells it, is as required; None: it does not tell."""
    if value is None:
        return False
    kind, words = requirement.operator, requirement.words
    if kind in NUMERIC:
        number = _number(value)
        return number is not None and _NUMBERS[kind](number, float(words[0]))
    if kind in ("<in>", "<all-in>"):
        whole = value if isinstance(value, frozenset) else text_of(value)
        return all(word in whole for word in words)
    text = text_of(value)
    if kind in _TEXTS:
        return _TEXTS[kind](text, words[0])
    return text in words


def text_of(value: Value) -> str:
    """A value as a person would write it: true, 8, 2.5, "aes mmx"."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, frozenset):
        return " ".join(sorted(value))
    return str(value)


def _number(value: Value) -> float | None:
    try:
        number = float(value) if not isinstance(value, frozenset) else math.nan
    except (ValueError, OverflowError):
        return None
    return None if math.isnan(number) else number


def host_value(view: HostView, name: str) -> Value | None:
    """What the host says of `capabilities:name`; None: it does not tell, or there is no such capability."""
    if name == "host":
        return view.name
    read = _FACTS.get(name)
    if read is None or view.facts is None:
        return None
    # A fact that a driver does not tell is empty or zero in `HostFacts`.
    value = read(view.facts)
    return value if isinstance(value, bool) else value or None


def version_number(text: str) -> int:
    """9.2.1 as libvirt's number 9002001, as Nova has it; 0: not a version."""
    parts = text.split(".")
    if not 1 <= len(parts) <= 3 or not all(
        part.isdecimal() and part.isascii() and len(part) <= 6 for part in parts
    ):
        return 0
    major, minor, micro = ([int(part) for part in parts] + [0, 0])[:3]
    return major * 1_000_000 + minor * 1000 + micro


_FACTS: dict[str, Callable[[HostFacts], Value | None]] = {
    "cpu_info:arch": lambda facts: facts.arch,
    "cpu_info:model": lambda facts: facts.cpu_model,
    "cpu_info:topology:cells": lambda facts: len(facts.numa),
    "cpu_info:topology:cores": lambda facts: facts.cores,
    "cpu_info:topology:sockets": lambda facts: facts.sockets,
    "cpu_info:topology:threads": lambda facts: facts.threads,
    "cpu_info:vendor": lambda facts: facts.cpu_vendor,
    "hypervisor_hostname": lambda facts: facts.hostname,
    "hypervisor_type": lambda facts: facts.hypervisor,
    "hypervisor_version": lambda facts: version_number(facts.hypervisor_version),
    "iommu": lambda facts: facts.iommu,
    "kernel": lambda facts: facts.kernel,
    "libvirt_version": lambda facts: version_number(facts.libvirt_version),
    "memory_mb": lambda facts: facts.memory // 1024**2,
    "os": lambda facts: facts.os,
    "vcpus": lambda facts: facts.cpus,
}
