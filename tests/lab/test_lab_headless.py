"""The command line over real hypervisors: what it prints, when one hangs, when it must ask, how it ends."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.fleet import Lab
from lab.host import LabHost

pytestmark = pytest.mark.lab

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "virtfleet_tui"]


@pytest.fixture
def env(tmp_path: Path) -> Iterator[dict[str, str]]:
    made = {name: value for name, value in os.environ.items() if name != "VIRTFLEET_FLEET"}
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        (tmp_path / name).mkdir(mode=0o700)
        made[name] = str(tmp_path / name)
    made["XDG_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="vf-", dir="/tmp")  # short: sockets go there
    yield {**made, "PYTHONPATH": f"{ROOT / 'core'}:{ROOT / 'tui'}"}
    shutil.rmtree(made["XDG_RUNTIME_DIR"])


def run(env: dict[str, str], lab: Lab, line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, "--fleet", str(lab.fleet_file), *line.split()], env=env, capture_output=True, text=True,
        check=False, timeout=100, stdin=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


def workers(env: dict[str, str]) -> list[int]:
    """Our processes, by the environment that only they have."""
    mark = f"XDG_STATE_HOME={env['XDG_STATE_HOME']}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def gone(env: dict[str, str]) -> bool:
    deadline = time.monotonic() + 20
    while workers(env) and time.monotonic() < deadline:
        time.sleep(0.1)
    return workers(env) == [] and list(Path(env["XDG_RUNTIME_DIR"]).glob("virtfleet/*")) == []


def test_a_list_is_what_virsh_says(env: dict[str, str], lab: Lab, hosts: dict[str, LabHost]) -> None:
    done = run(env, lab, "vm list -o json -f !host=lx1 --timeout 30")
    body = json.loads(done.stdout)
    expected = {(name, vm) for name, host in hosts.items() for vm in host.virsh("list --all --name").split()}
    assert (done.returncode, body["unreachable"]) == (0, [])
    assert {(item["host"], item["name"]) for item in body["items"]} == expected
    assert gone(env)


def test_xml_is_what_virsh_says(env: dict[str, str], lab: Lab, hosts: dict[str, LabHost]) -> None:
    done = run(env, lab, "vm show hv1-vm1@hv1 --xml --timeout 30")
    assert done.returncode == 0
    assert hosts["hv1"].virsh("domuuid hv1-vm1").strip() in done.stdout


def test_a_hung_host_costs_its_deadline_and_the_rest_is_there(
    env: dict[str, str], lab: Lab, hosts: dict[str, LabHost]
) -> None:
    hosts["hv2"].freeze_libvirtd()
    done = run(env, lab, "vm list -o json --timeout 15")
    body = json.loads(done.stdout)
    assert done.returncode == 3
    assert {item["host"] for item in body["items"]} == {"hv1", "hv3", "lx1"}
    [lost] = body["unreachable"]
    assert lost["host"] == "hv2"
    assert lost["state"] in ("hung", "connecting")
    assert lost["reason"]
    checked = run(env, lab, "host check hv1 hv2 --timeout 15")
    assert checked.returncode == 3
    assert "hv1  ● up" in checked.stdout
    assert "    problem    " in checked.stdout
    assert gone(env)


def stranger(env: dict[str, str], lab: Lab, tmp_path: Path) -> tuple[dict[str, str], Path]:
    """A fleet of one host whose key nobody has seen yet."""
    known = tmp_path / "known_hosts"
    settings: dict[str, Any] = yaml.safe_load(lab.fleet_file.read_text())
    settings["defaults"]["ssh"]["known_hosts"] = str(known)
    settings["hosts"] = {"hv1": settings["hosts"]["hv1"]}
    (tmp_path / "fleet.yaml").write_text(yaml.safe_dump(settings))
    return {**env, "VIRTFLEET_FLEET": str(tmp_path / "fleet.yaml")}, known


def test_an_unknown_host_key_is_refused_without_a_terminal(
    env: dict[str, str], lab: Lab, tmp_path: Path
) -> None:
    env, known = stranger(env, lab, tmp_path)
    done = subprocess.run(
        [*COMMAND, "vm", "list", "-o", "json"], env=env, capture_output=True, text=True, check=False,
        timeout=100, stdin=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    [lost] = json.loads(done.stdout)["unreachable"]
    assert (done.returncode, lost["state"]) == (3, "refused")
    assert "key" in lost["reason"]
    assert not known.exists()


def test_an_unknown_host_key_is_asked_for_on_the_terminal(
    env: dict[str, str], lab: Lab, tmp_path: Path
) -> None:
    """stdout is a pipe and stdin a file: the question is on the terminal all the same."""
    env, known = stranger(env, lab, tmp_path)
    ours, theirs = pty.openpty()
    # `setsid --ctty` makes what is on stdin the controlling terminal; the shell's job is then done by exec.
    line = ["setsid", "--ctty", "--wait", *COMMAND, "vm", "list", "-o", "json", "--timeout", "30"]
    with subprocess.Popen(line, env=env, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs) as process:
        os.close(theirs)
        seen = until(ours, "(yes/no)? ")
        assert seen.startswith("hv1: ")
        assert "SHA256:" in seen
        os.write(ours, b"yes\n")
        assert process.stdout is not None
        body = json.loads(process.stdout.read())
        assert process.wait(60) == 0
    os.close(ours)
    assert {item["host"] for item in body["items"]} == {"hv1"}
    assert known.read_text() != ""
    again = subprocess.run([*COMMAND, "vm", "list"], env=env, capture_output=True, timeout=100, check=False,
                           stdin=subprocess.DEVNULL, start_new_session=True)  # fmt: skip
    assert again.returncode == 0


def until(fd: int, text: str) -> str:
    """What the terminal shows, up to `text`."""
    seen = ""
    deadline = time.monotonic() + 60
    while text not in seen:
        ready, _, _ = select.select([fd], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, f"never {text!r}: {seen!r}"
        seen += os.read(fd, 4096).decode()
    return seen


def test_ctrl_c_with_three_hosts(env: dict[str, str], lab: Lab, hosts: dict[str, LabHost]) -> None:
    """Through the terminal's own process group, as a person does it."""
    hosts["hv2"].freeze_libvirtd()
    ours, theirs = pty.openpty()
    line = [
        "setsid",
        "--ctty",
        "--wait",
        *COMMAND,
        "--fleet",
        str(lab.fleet_file),
        "vm",
        "list",
        "--timeout",
        "60",
    ]
    with subprocess.Popen(line, env=env, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        deadline = time.monotonic() + 60
        while len(workers(env)) < 6 and time.monotonic() < deadline:
            time.sleep(0.05)  # setsid, the command, the zygote and most workers
        os.write(ours, b"\x03")
        shown = ""
        while True:
            try:
                data = os.read(ours, 4096)
            except OSError:
                break
            if not data:
                break
            shown += data.decode()
        assert process.wait(60) == 130
    os.close(ours)
    assert "Traceback" not in shown
    assert gone(env)


def test_a_changed_host_key_is_refused_loudly(
    env: dict[str, str], lab: Lab, hosts: dict[str, LabHost]
) -> None:
    hosts["hv3"].change_host_key()
    done = run(env, lab, "host check hv3 --timeout 30")
    assert done.returncode == 1
    assert "hv3  ✖ refused" in done.stdout
    assert "key" in done.stdout


def test_termination_leaves_nothing(env: dict[str, str], lab: Lab) -> None:
    with subprocess.Popen(
        [*COMMAND, "--fleet", str(lab.fleet_file), "watch"], env=env, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["kind"] == "host"
        process.send_signal(signal.SIGTERM)
        process.stdout.read()
        assert process.wait(60) == 143
        assert process.stderr.read() == b""
    assert gone(env)
