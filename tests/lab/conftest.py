"""Fixtures over the lab: `lab` for the session, `host` and `hosts` that heal it, `fresh_lab` to break.

Without root or Linux the tests that ask for a lab are skipped with the reason; in CI (CI=true) they fail, so
that nobody takes a run without them for a green one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from lab.errors import LabUnavailable
from lab.fleet import Lab, Plan, check_machine
from lab.host import LabHost

FreshLab = Callable[..., Lab]


@pytest.fixture(scope="session")
def lab_machine() -> None:
    """Skip (in CI: fail) where no lab can run."""
    try:
        check_machine()
    except LabUnavailable as reason:
        if os.environ.get("CI", "").lower() in ("1", "true", "yes"):
            pytest.fail(f"no lab in CI: {reason}")
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def lab(lab_machine: None) -> Iterator[Lab]:
    """Three hosts with two running guests each, a container, a shared pool; gone when the session ends."""
    with Lab.start(Plan()) as built:
        yield built


@pytest.fixture
def hosts(lab: Lab) -> Iterator[dict[str, LabHost]]:
    """The lab's hosts by name, to do anything to: afterwards they are healed."""
    yield lab.hosts
    lab.heal()


@pytest.fixture
def host(hosts: dict[str, LabHost]) -> LabHost:
    """One host of the lab, healed after the test (as are the others)."""
    return hosts["hv1"]


@pytest.fixture
def fresh_lab(lab_machine: None) -> Iterator[FreshLab]:
    """A factory of labs of a test's own: `fresh_lab(hosts=1, guests=0)`; all gone when the test ends."""
    built: list[Lab] = []

    def make(name: str | None = None, **plan: object) -> Lab:
        made = Lab.start(Plan(**plan), name=name)  # type: ignore[arg-type]
        built.append(made)
        return made

    try:
        yield make
    finally:
        for each in built:
            each.down()
