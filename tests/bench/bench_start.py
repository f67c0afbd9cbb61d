"""The lab of three real hosts: from the start of the console to its first VM rows, and a list against virsh.

The console is started as an operator does, by its command, in a terminal of 160x45, and the clock runs until
a VM of each host is painted. The list is measured in turns with what one would do without us: `virsh list
--all` on one host after the other, with the same key and the same strict check of the host keys.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import time
from pathlib import Path

import numpy as np
import yaml

from bench import processes
from bench.figures import Figure, run, say, spread
from bench.labs import a_lab
from bench.terminal import Home, Terminal, home, virtfleet
from lab.fleet import Lab

_NEVER = 30.0
_WARM = 20.0
"""Seconds after which a worker has read everything once."""


def measure(options: argparse.Namespace) -> list[Figure]:
    runs = 2 if options.quick else 7
    start = "lab of 3 real hosts: start to first painted VM rows"
    ratio = "`virtfleet vm list` over 3 real hosts, against `virsh list` over them one after another"
    memory = "memory of one worker (PSS), 3 real hosts"
    with a_lab(options.lab) as lab, home() as folders:
        if lab is None:
            return [Figure(what, "", "not measured: no lab here") for what in (start, ratio, memory)]
        fleet = _fleet_without_containers(lab, folders.folder)
        starts = [_start(lab, folders, fleet) for _ in range(runs)]
        ours, theirs = _lists(lab, folders, fleet, runs)
        workers = _memory(lab, folders, fleet)
    say(f"start, each run: {' '.join(f'{each:.2f}' for each in starts)} s")
    return [
        Figure(start, "≤ 1.5 s", spread(starts)),
        Figure(
            ratio,
            "ratio ≤ 1",
            f"{np.median(ours) / np.median(theirs):.2f}: {spread(ours)} against {spread(theirs)}",
        ),
        Figure(
            memory,
            "≤ 10 MB",
            f"{_median(workers, 'Pss'):.1f} MB (private {_median(workers, 'Private'):.1f} MB;"
            " what workers share is divided by 4 here)",
        ),
    ]


def _fleet_without_containers(lab: Lab, folder: Path) -> Path:
    """The lab's file names the first host a second time, for its containers: that would be a fourth host."""
    content = yaml.safe_load(lab.fleet_file.read_text())
    content["hosts"] = {name: host for name, host in content["hosts"].items() if name in lab.hosts}
    path = folder / "fleet.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    path.chmod(0o600)
    return path


# ---- the console


def _rows_of(lab: Lab) -> list[re.Pattern[str]]:
    """A line of the VM list for each host: a VM of it, and its name in the column beside."""
    return [re.compile(rf"\b{name}-vm\d+ +{name} ") for name in lab.hosts]


def _start(lab: Lab, folders: Home, fleet: Path) -> float:
    wanted = _rows_of(lab)

    def painted(text: str) -> bool:
        wanted[:] = [row for row in wanted if row.search(text) is None]
        return not wanted

    with Terminal([*virtfleet(), "--fleet", str(fleet)], folders.environment) as terminal:
        took = terminal.until(painted, _NEVER)
        terminal.drain(0.5)
        terminal.quit()
    if left := folders.clear():
        say(f"{left} processes had to be killed")
    return took


def _median(workers: list[dict[str, float]], what: str) -> float:
    return float(np.median([memory[what] for memory in workers]))


def _memory(lab: Lab, folders: Home, fleet: Path) -> list[dict[str, float]]:
    with Terminal([*virtfleet(), "--fleet", str(fleet)], folders.environment) as terminal:
        terminal.drain(_WARM)
        found = processes.memories(processes.workers(terminal.process.pid))
        terminal.quit()
    folders.clear()
    return found


# ---- the list


def _lists(lab: Lab, folders: Home, fleet: Path, runs: int) -> tuple[list[float], list[float]]:
    ours, theirs = [], []
    list_all = [*virtfleet(), "--fleet", str(fleet), "vm", "list"]
    # virsh ignores a URI's known_hosts: ssh is told by a program in its place.
    ssh = folders.folder / "ssh"
    options = f"-o UserKnownHostsFile={lab.known_hosts} -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes"
    ssh.write_text(f'#!/bin/sh\nexec ssh {options} "$@"\n')
    ssh.chmod(0o700)
    question = f"?keyfile={lab.identity}&no_tty=1&command={ssh}"
    virsh = [["virsh", "-c", host.uri + question, "list", "--all"] for host in lab.hosts.values()]
    for _ in range(runs):
        began = time.perf_counter()
        _run(list_all, folders)
        ours.append(time.perf_counter() - began)
        folders.clear()
        began = time.perf_counter()
        for command in virsh:
            _run(command, folders)
        theirs.append(time.perf_counter() - began)
    return ours, theirs


def _run(argv: list[str], folders: Home) -> None:
    done = subprocess.run(
        argv, env=folders.environment, capture_output=True, text=True, timeout=60, check=False,
        stdin=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)}: {done.returncode}: {done.stderr.strip()}")


if __name__ == "__main__":
    run(__doc__, measure)
