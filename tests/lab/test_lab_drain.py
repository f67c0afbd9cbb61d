"""Draining real hosts by the command line: all that can go goes, and exactly what left comes home."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.fleet import Lab, Plan
from lab.run import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]

XML = (
    "<domain type='qemu'><name>{name}</name><memory unit='MiB'>{memory}</memory><vcpu>1</vcpu>"
    "<metadata><v:vm xmlns:v='urn:virtfleet:vm:1'><group>{group}</group></v:vm></metadata>"
    "<os><type arch='x86_64' machine='pc'>hvm</type></os><devices>"
    "<controller type='usb' model='none'/><memballoon model='none'/></devices></domain>"
)


@pytest.fixture(scope="module")
def site(lab_machine: None) -> Iterator[tuple[Lab, Path]]:
    """Three hosts: on the first a pair that belongs together, one for itself and one that is off."""
    with Lab.start(Plan(hosts=3, guests=0, off=0, containers=0, shared=False)) as lab:
        fleet = yaml.safe_load(lab.fleet_file.read_text())
        fleet["groups"] = {"pair": {"policy": "affinity"}}
        for host in fleet["hosts"].values():
            host["allocation_ratio"] = {"cpu": 16}
        file = lab.fleet_file.with_name("drain.yaml")
        file.write_text(yaml.safe_dump(fleet))
        for host, name, memory, group, on in (
            ("hv1", "pair-1", 32, "pair", True),
            ("hv1", "pair-2", 16, "pair", True),
            ("hv1", "web", 24, "", True),
            ("hv1", "off", 16, "", False),
            ("hv2", "stranger", 16, "", True),
        ):
            xml = lab.hosts[host].inside("/tmp/vm.xml")
            xml.write_text(XML.format(name=name, memory=memory, group=group).replace("<group>", "<v:group>")
                           .replace("</group>", "</v:group>"))  # fmt: skip
            lab.hosts[host].virsh("define /tmp/vm.xml", *([f"start {name}"] if on else []))
        yield lab, file


def command(file: Path, state: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "virtfleet_tui", "--fleet", str(file), "--no-input", *words]


def run(file: Path, state: Path, *words: str) -> tuple[int, Any, str]:
    """Exit code, data, and what was said beside it."""
    done = subprocess.run(
        command(file, state, *words, "-o", "json"),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "XDG_STATE_HOME": str(state)},
    )
    return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr


def where(lab: Lab) -> dict[str, list[str]]:
    """The hosts that each VM is defined on."""
    found: dict[str, list[str]] = {}
    for name, host in lab.hosts.items():
        for vm in host.virsh("list --all --name").split():
            found.setdefault(vm, []).append(name)
    return found


def running(lab: Lab) -> set[str]:
    return {vm for host in lab.hosts.values() for vm in host.virsh("list --name").split()}


def metadata(lab: Lab, host: str, vm: str) -> bool:
    return "urn:virtfleet:move:1" in lab.hosts[host].virsh(f"dumpxml --inactive {vm}")


def test_what_left_comes_home_and_nobody_else(site: tuple[Lab, Path], tmp_path: Path) -> None:
    lab, file = site
    code, plan, _ = run(file, tmp_path, "host", "drain", "hv1", "--reason", "new kernel", "--dry-run")
    assert code == 0
    assert where(lab)["web"] == ["hv1"]
    assert plan["items"][0]["reasons"][-1] == "3 of 4 VMs go, in 1 wave"
    code, jobs, said = run(file, tmp_path, "host", "drain", "hv1", "--reason", "new kernel", "--yes")
    assert code == 0, said
    assert {job["state"] for job in jobs["items"]} == {"done"}
    assert "off stays on hv1: it is off; `--off move` takes it along" in said
    now = where(lab)
    assert now["pair-1"] == now["pair-2"]
    assert {host for vm in ("pair-1", "pair-2", "web") for host in now[vm]} <= {"hv2", "hv3"}
    assert (now["off"], now["stranger"]) == (["hv1"], ["hv2"])
    assert all(len(places) == 1 for places in now.values())
    assert running(lab) == {"pair-1", "pair-2", "web", "stranger"}
    assert metadata(lab, now["web"][0], "web")
    assert not metadata(lab, "hv2", "stranger")
    _, hosts, _ = run(file, tmp_path, "host", "show", "hv1")
    shown = hosts["items"][0]
    assert (shown["state"], shown["takes_vms"], shown["maintenance"]) == ("up", False, "draining")
    # Home again, by another operator: he knows it from the hosts and the VMs alone.
    code, _, said = run(file, tmp_path / "other", "host", "undrain", "hv1", "--return", "--yes")
    assert code == 0, said
    assert where(lab) == {
        "pair-1": ["hv1"], "pair-2": ["hv1"], "web": ["hv1"], "off": ["hv1"], "stranger": ["hv2"]
    }  # fmt: skip
    assert running(lab) == {"pair-1", "pair-2", "web", "stranger"}
    assert not any(metadata(lab, "hv1", vm) for vm in ("pair-1", "pair-2", "web"))
    assert json.loads(lab.hosts["hv1"].inside("/var/lib/virtfleet/host.json").read_text()) == {}


def test_a_drain_whose_process_was_killed_is_gone_on_with(site: tuple[Lab, Path], tmp_path: Path) -> None:
    lab, file = site
    process = subprocess.Popen(
        command(file, tmp_path, "host", "drain", "hv1", "--yes", "--off", "move", "--parallel", "1"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path)},
    )
    try:
        left = lambda: len(lab.hosts["hv1"].virsh("list --all --name").split()) < 4  # noqa: E731
        wait_until(left, "the first has left", timeout=60.0)
    finally:
        process.kill()
        process.wait()
    code, jobs, said = run(file, tmp_path, "host", "drain", "hv1", "--yes", "--off", "move")
    assert code == 0, (jobs, said)
    now = where(lab)
    assert set(now) == {"pair-1", "pair-2", "web", "off", "stranger"}
    assert all(len(places) == 1 and places != ["hv1"] for places in now.values()), now
    assert now["pair-1"] == now["pair-2"]
    assert running(lab) == {"pair-1", "pair-2", "web", "stranger"}
    code, _, said = run(file, tmp_path, "host", "undrain", "hv1", "--return", "--yes")
    assert code == 0, said
    assert where(lab)["off"] == ["hv1"]


def test_interrupted_it_takes_back_what_is_under_way(site: tuple[Lab, Path], tmp_path: Path) -> None:
    lab, file = site
    process = subprocess.Popen(
        command(file, tmp_path, "host", "drain", "hv1", "--yes", "--parallel", "1"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path)},
    )
    try:
        left = lambda: len(lab.hosts["hv1"].virsh("list --all --name").split()) < 4  # noqa: E731
        wait_until(left, "the first has left", timeout=60.0)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
    finally:
        process.kill()
        process.wait()
    now = where(lab)
    assert all(len(places) == 1 for places in now.values()), now
    assert now["web"] == ["hv1"]
    assert running(lab) == {"pair-1", "pair-2", "web", "stranger"}
    _, jobs, _ = run(file, tmp_path, "job", "list")
    assert {job["state"] for job in jobs["items"]} <= {"done", "cancelled"}
    code, _, said = run(file, tmp_path, "host", "undrain", "hv1", "--return", "--yes")
    assert code == 0, said
    assert {*where(lab)["pair-1"], *where(lab)["pair-2"]} == {"hv1"}
