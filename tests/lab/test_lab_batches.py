"""Batch files on a real host, by the command line: loops, needs, what shall be, and a second run."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.fleet import Lab
from lab.fleet import Plan as LabPlan
from lab.host import LabHost
from lab.test_lab_headless import COMMAND, env

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

__all__ = ["env"]


@pytest.fixture(scope="module")
def small_lab(lab_machine: None) -> Iterator[Lab]:
    with Lab.start(LabPlan(hosts=1, guests=0, off=1, containers=0, shared=False)) as built:
        yield built


@pytest.fixture
def run(small_lab: Lab, env: dict[str, str]) -> Iterator[Any]:
    def command(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, "--fleet", str(small_lab.fleet_file), *words], env=env, capture_output=True, text=True,
            check=False, timeout=200, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip

    yield command
    small_lab.heal()


@pytest.fixture
def hv(small_lab: Lab) -> LabHost:
    return small_lab.hosts["hv1"]


def names(hv: LabHost) -> set[str]:
    return {line for line in hv.virsh("list --all --name").splitlines() if line.strip()}


def volumes(hv: LabHost) -> set[str]:
    hv.virsh("pool-refresh local")
    found = {line.split()[0] for line in hv.virsh("vol-list local").splitlines() if line.split()}
    return {name for name in found if not name.startswith("virtfleet-")}


def jobs(run: Any) -> list[dict[str, Any]]:
    return list(json.loads(run("job", "list", "--all", "-o", "json").stdout)["items"])


ACTIONS = """
- action: vm.create
  id: web
  name: web-%02d
  count: 3
  host: hv1
  memory: 64MiB
  image: lab
  pool: local
  start: false
- action: vm.tag
  id: tagged
  vm: web-%02d
  count: 3
  add: [prod]
  needs: web
- action: vm.describe
  vm: web-02
  title: the second
  needs: [tagged]
- action: vm.protect
  vm: hv1-vm1
"""


def test_a_loop_and_what_waits_for_it(run: Any, hv: LabHost, tmp_path: Path) -> None:
    file = tmp_path / "batch.yaml"
    file.write_text(ACTIONS)
    done = run("apply", str(file), "--yes", "-o", "json")
    assert done.returncode == 0, done.stderr
    assert names(hv) == {"hv1-vm1", "web-01", "web-02", "web-03"}
    for number in (1, 2, 3):
        assert ">prod<" in hv.virsh(f"dumpxml web-0{number}")
    assert "<title>the second<" in hv.virsh("dumpxml web-02")
    assert len(jobs(run)) == 8
    assert {each["state"] for each in jobs(run)} == {"done"}


def test_one_that_fails_leaves_undone_what_needs_it(run: Any, hv: LabHost, tmp_path: Path) -> None:
    """A name that is taken in the middle: the plan was good, the deed is not."""
    file = tmp_path / "batch.yaml"
    broken = tmp_path / "vm.xml"
    broken.write_text(
        "<domain type='qemu'><name>x</name><memory>65536</memory><os><type>none</type></os></domain>"
    )
    file.write_text(f"""
- {{action: vm.create, id: bad, name: bad, host: hv1, xml: {broken}}}
- {{action: vm.tag, id: tag, vm: bad, add: [x], needs: bad}}
- {{action: vm.describe, vm: bad, title: T, needs: tag}}
- {{action: vm.tag, vm: hv1-vm1, add: [well]}}
""")
    before = names(hv), volumes(hv)
    done = run("apply", str(file), "--yes")
    assert done.returncode == 3, done.stdout + done.stderr
    assert (names(hv), volumes(hv)) == before
    assert ">well<" in hv.virsh("dumpxml hv1-vm1")
    assert re.search(r"vm\.tag bad: not begun, since bad failed", done.stderr)
    assert re.search(r"vm\.describe bad: not begun, since tag failed", done.stderr)
    assert [each["state"] for each in jobs(run)].count("failed") == 1
    assert len(jobs(run)) == 2


def test_what_can_not_be_planned_begins_nothing(run: Any, hv: LabHost, tmp_path: Path) -> None:
    file = tmp_path / "batch.yaml"
    file.write_text("""
- {action: vm.tag, vm: hv1-vm1, add: [never]}
- {action: vm.create, name: "x/../y", host: hv1, image: lab, pool: local}
""")
    done = run("apply", str(file), "--yes")
    assert done.returncode == 4
    assert "slash" in done.stderr
    assert ">never<" not in hv.virsh("dumpxml hv1-vm1")
    assert jobs(run) == []


def test_two_actions_on_one_vm_do_not_get_in_each_others_way(run: Any, hv: LabHost, tmp_path: Path) -> None:
    file = tmp_path / "batch.yaml"
    file.write_text("""
- {action: vm.tag, vm: hv1-vm1, add: [one]}
- {action: vm.tag, vm: "hv1-*", add: [two]}
- {action: vm.describe, vm: hv1-vm1, title: three}
- {action: vm.assign, vm: hv1-vm1, group: four}
""")
    done = run("apply", str(file), "--yes")
    assert done.returncode == 0, done.stderr
    xml = hv.virsh("dumpxml hv1-vm1")
    assert all(f">{text}<" in xml for text in ("one", "two", "three", "four"))


WANTED = """
vms:
  db-%02d: {{count: {count}, memory: {memory}, image: lab, pool: local, host: hv1, tags: [db], state: shutoff,
            title: "a base", description: "x", project: p, protected: false, autostart: true}}
prune: tag:db
"""


def test_what_shall_be_the_second_run_changes_nothing_and_prune_deletes(
    run: Any, hv: LabHost, tmp_path: Path
) -> None:
    file = tmp_path / "wanted.yaml"
    before = names(hv), volumes(hv)
    file.write_text(WANTED.format(count=3, memory="64MiB"))
    shown = run("plan", str(file))
    assert shown.returncode == 0
    assert "+ 3 to create, ~ 0 to change, − 0 to delete" in shown.stdout
    assert (names(hv), volumes(hv)) == before
    assert run("apply", str(file), "--yes").returncode == 0
    assert names(hv) == before[0] | {"db-01", "db-02", "db-03"}
    count = len(jobs(run))
    again = run("apply", str(file), "--yes")
    assert again.returncode == 0
    assert "everything is so already: nothing was done" in again.stderr
    assert len(jobs(run)) == count
    # Changed by hand, it is made so again; and what the file no longer names goes only with --prune.
    hv.virsh("desc db-01 --config --title other", "autostart --disable db-02")
    file.write_text(WANTED.format(count=2, memory="96MiB"))
    done = run("apply", str(file), "--yes")
    assert done.returncode == 0, done.stderr
    assert names(hv) == before[0] | {"db-01", "db-02", "db-03"}
    assert "<title>a base<" in hv.virsh("dumpxml db-01")
    for name in ("db-01", "db-02"):
        info = hv.virsh(f"dominfo {name}")
        assert "98304 KiB" in info
        assert re.search(r"Autostart: +enable", info)
    assert "65536 KiB" in hv.virsh("dominfo db-03")
    pruned = run("apply", str(file), "--prune", "--yes")
    assert pruned.returncode == 0, pruned.stderr
    assert names(hv) == before[0] | {"db-01", "db-02"}
    assert volumes(hv) == before[1] | {"db-01.qcow2", "db-02.qcow2"}
    count = len(jobs(run))
    assert run("apply", str(file), "--prune", "--yes").returncode == 0
    assert len(jobs(run)) == count
    file.write_text("vms: {}\nprune: tag:db\n")
    assert run("apply", str(file), "--prune", "--yes").returncode == 0
    assert (names(hv), volumes(hv)) == before
