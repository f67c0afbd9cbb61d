"""The command in a process of its own, over real workers: forms, exit codes, deadlines, interruptions."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "virtfleet_tui"]
NOTE = "virtfleet: demo fleet: all figures are simulated\n"


@pytest.fixture
def env(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment without the user's own fleet, state and colours."""
    made = {name: value for name, value in os.environ.items() if name not in ("VIRTFLEET_FLEET", "COLUMNS")}
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        folder = tmp_path / name
        folder.mkdir(mode=0o700)
        made[name] = str(folder)
    made["XDG_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="vf-", dir="/tmp")  # short: sockets go there
    yield {**made, "PYTHONPATH": f"{ROOT / 'core'}:{ROOT / 'tui'}", "HOME": str(tmp_path)}
    shutil.rmtree(made["XDG_RUNTIME_DIR"])


def run(env: dict[str, str], line: str, *more: str) -> subprocess.CompletedProcess[str]:
    """Without a terminal, so that nothing can be asked."""
    return subprocess.run(
        [*COMMAND, *line.split(), *more], env=env, capture_output=True, text=True, check=False, timeout=100,
        stdin=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


def leftovers(env: dict[str, str]) -> list[str]:
    """Processes that still run with our environment, and sockets' folders that were not removed."""
    mark = f"XDG_STATE_HOME={env['XDG_STATE_HOME']}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
    return found + [str(each) for each in (Path(env["XDG_RUNTIME_DIR"]) / "virtfleet").glob("*")]


def nothing_is_left(env: dict[str, str]) -> bool:
    deadline = time.monotonic() + 20
    while left := leftovers(env):
        if time.monotonic() > deadline:
            pytest.fail(f"left behind: {left}")
        time.sleep(0.1)
    return True


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield server.getsockname()[1]


def fleet(tmp_path: Path, **uris: str) -> str:
    hosts: dict[str, Any] = {name: {"uri": uri} for name, uri in uris.items()}
    (tmp_path / "fleet.yaml").write_text(yaml.safe_dump({"hosts": hosts}))
    return str(tmp_path / "fleet.yaml")


# ---- forms


def test_the_envelope(env: dict[str, str]) -> None:
    done = run(env, "--demo vm list -o json -c name,host,state,vcpus -f name=db-0* -s name")
    assert (done.returncode, done.stderr) == (0, NOTE)
    body = json.loads(done.stdout)
    assert list(body) == ["kind", "items", "unreachable"]
    assert (body["kind"], body["unreachable"]) == ("vm", [])
    assert [item["name"] for item in body["items"]] == [f"db-0{n}" for n in range(1, 9)]
    assert list(body["items"][0]) == ["name", "host", "state", "vcpus"]
    assert nothing_is_left(env)


@pytest.mark.parametrize(
    ("noun", "count", "field"),
    [
        ("host", 8, "cpu_model"),
        ("vm", 120, "uuid"),
        ("pool", None, "capacity"),
        ("network", None, "bridge"),
    ],
)
def test_every_field_is_in_json(env: dict[str, str], noun: str, count: int | None, field: str) -> None:
    done = run(env, f"{noun} list --demo -o json")
    items = json.loads(done.stdout)["items"]
    assert done.returncode == 0
    assert len(items) == count if count else items
    assert all(item[field] for item in items if noun != "pool")
    assert {"age_s", "stale"} <= set(items[0])
    assert not any(item["stale"] for item in items)


def test_yaml_and_csv_say_the_same(env: dict[str, str]) -> None:
    line = "vm list --demo -c name,host,uuid -f host=hv01"
    from_yaml = yaml.safe_load(run(env, f"{line} -o yaml").stdout)["items"]
    from_csv = list(csv.DictReader(io.StringIO(run(env, f"{line} -o csv").stdout)))
    assert from_yaml == from_csv
    assert len(from_csv) == 15


def test_a_table_fits_and_has_no_colour_in_a_pipe(env: dict[str, str]) -> None:
    done = run({**env, "COLUMNS": "80"}, "vm list --demo")
    lines = done.stdout.splitlines()
    assert len(lines) == 121
    assert lines[0].split()[:3] == ["NAME", "HOST", "STATE"]
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in done.stdout
    assert "STALE" not in lines[0]


def test_rates_are_waited_for_where_they_are_asked_for(env: dict[str, str]) -> None:
    done = run(env, "vm list --demo -o json -c name,cpu -f state=running")
    items = json.loads(done.stdout)["items"]
    assert items
    assert all(isinstance(item["cpu_pct"], float) for item in items)


def test_show(env: dict[str, str]) -> None:
    done = run(env, "vm show --demo db-01@hv01 -o json")
    (item,) = json.loads(done.stdout)["items"]
    assert (done.returncode, item["name"], item["host"]) == (0, "db-01", "hv01")
    card = run(env, f"vm show --demo {item['uuid'].upper()}").stdout.splitlines()
    assert card[0].split() == ["name", "db-01"]
    xml = run(env, "vm show --demo --xml db-01")
    assert xml.stdout.startswith("<domain")
    assert f"<uuid>{item['uuid']}</uuid>" in xml.stdout


def test_check(env: dict[str, str]) -> None:
    done = run(env, "host check --demo hv01 -o json")
    (item,) = json.loads(done.stdout)["items"]
    assert done.returncode == 0
    assert (item["name"], item["state"], item["problem"], item["hypervisor"]) == ("hv01", "up", None, "TEST")
    assert item["supported"]["bulk statistics"] == ""
    assert item["supported"]["secrets"].startswith("this function is not supported")
    assert set(item["calls_s"]) == {"monitor", "detail", "storage", "long"}


def test_top(env: dict[str, str]) -> None:
    done = run(env, "top --demo -n 2 -d 0.5 -l 5 -o json -c name,cpu")
    first, second = (json.loads(line)["items"] for line in done.stdout.splitlines())
    assert done.returncode == 0
    for items in (first, second):
        loads = [item["cpu_pct"] for item in items]
        assert len(loads) == 5
        assert loads == sorted(loads, reverse=True)
    table = run(env, "top host --demo --by mem -n 1").stdout.splitlines()
    assert table[0].split()[1:6] == ["hosts", "8/8", "VMs", "111/120", "alerts"]
    assert len(table) == 2 + 8


def test_watch(env: dict[str, str]) -> None:
    done = run(env, "watch --demo --for 4 --every 0.5 vm -c state,cpu -f host=hv01")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0
    assert all(list(line) == ["time", "kind", "change", "item"] and line["kind"] == "vm" for line in lines)
    new = [line["item"] for line in lines if line["change"] == "new"]
    assert len(new) == 15
    assert all(set(item) == {"name", "host", "uuid", "state", "cpu_pct"} for item in new)
    assert any(line["change"] == "changed" and "cpu_pct" in line["item"] for line in lines)


def test_fields_are_those_of_json(env: dict[str, str]) -> None:
    described = json.loads(run(env, "network fields -o json").stdout)
    listed = json.loads(run(env, "network list --demo -o json").stdout)["items"][0]
    assert [item["name"] for item in described["items"]] == list(listed)
    table = run(env, "network fields").stdout.splitlines()
    assert table[0].split() == ["NAME", "SHORT", "UNIT", "MEANING"]
    assert len(table) == 1 + len(listed)


def test_the_overview_without_a_terminal_says_why(env: dict[str, str]) -> None:
    done = run(env, "")
    assert done.returncode == 0
    assert done.stderr == (
        "virtfleet: no terminal here, so instead of the console this prints the fleet once\n" + NOTE
    )
    assert [line for line in done.stdout.splitlines() if line.startswith(("Hosts", "VMs", "Pools"))][:2] == [
        "Hosts: 8",
        "VMs: 120",
    ]
    assert "hosts 8/8" in done.stdout.splitlines()[0]


# ---- mistakes


@pytest.mark.parametrize(
    ("line", "code", "stderr"),
    [
        (
            "vm list",
            2,
            "virtfleet: there is no fleet file; give --fleet FILE or --connect URI, write "
            "~/.config/virtfleet/fleet.yaml, or look at --demo\n",
        ),
        (
            "vm list --fleet /none.yaml",
            2,
            "virtfleet: /none.yaml: the fleet file can't be read: No such file or directory\n",
        ),
        (
            "vm list --demo -c nam",
            2,
            "virtfleet: vms have no field 'nam'\n    nam\n    ^\n    Did you mean name or ram?\n",
        ),
        (
            "vm show --demo db-1",
            1,
            NOTE + "virtfleet: no vm db-1\n    did you mean db-01 or dns-1 or db-08?\n",
        ),
        ("host check --demo hv9", 1, "virtfleet: no host hv9 in this fleet\n    hosts: "),
        (
            "pool show --demo images -o json",
            2,
            NOTE + '{"error":{"code":"ambiguous","message":"8 pools are called images: ',
        ),
        ("vm lst", 2, "Usage: virtfleet vm [OPTIONS] COMMAND"),
        ("--demo --fleet x vm list", 2, "virtfleet: --fleet and --demo exclude each other\n"),
    ],
)
def test_mistakes(env: dict[str, str], line: str, code: int, stderr: str) -> None:
    done = run(env, line)
    assert done.returncode == code
    assert done.stderr.startswith(stderr)
    if "-o json" not in line:
        assert done.stdout == ""


# ---- hosts that do not answer


def test_a_silent_and_a_closed_host_cost_the_deadline_and_are_listed(
    env: dict[str, str], tmp_path: Path, silent: int
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        file = fleet(
            tmp_path,
            good="test:///default",
            mute=f"qemu+tcp://127.0.0.1:{silent}/system",
            shut=f"qemu+tcp://127.0.0.1:{port}/system",
        )
        done = run(env, f"vm list --fleet {file} --timeout 6 -o json")
    body = json.loads(done.stdout)
    assert done.returncode == 3
    assert [(item["name"], item["host"]) for item in body["items"]] == [("test", "good")]
    lost = {host["host"]: host for host in body["unreachable"]}
    assert set(lost) == {"mute", "shut"}
    assert lost["shut"]["state"] == "unreachable"
    assert all(host["reason"] and host["age_s"] is None for host in lost.values())
    assert nothing_is_left(env)


def test_what_may_be_on_a_silent_host_is_not_said_to_be_nowhere(
    env: dict[str, str], tmp_path: Path, silent: int
) -> None:
    file = fleet(tmp_path, good="test:///default", mute=f"qemu+tcp://127.0.0.1:{silent}/system")
    done = run(env, f"vm show nosuch --fleet {file} --timeout 4")
    assert done.returncode == 3
    assert "virtfleet: no vm nosuch\n" in done.stderr
    assert "virtfleet: mute is " in done.stderr
    done = run(env, f"vm show test@good nosuch@good --fleet {file} --timeout 20")
    assert (done.returncode, done.stdout.split()[:2]) == (3, ["name", "test"])
    done = run(env, f"vm show test@good --fleet {file} --timeout 20")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_disabled_host_is_no_failure(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text(
        "hosts: {a: {uri: 'test:///default'}, b: {uri: 'qemu+ssh://nowhere/system', disabled: broken fan}}"
    )
    done = run(env, f"host list --fleet {tmp_path}/fleet.yaml -o json -c name,state,reason")
    assert done.returncode == 0
    assert json.loads(done.stdout)["items"][1] == {"name": "b", "state": "disabled", "reason": "broken fan"}


# ---- ends


def test_a_closed_pipe_ends_silently(env: dict[str, str]) -> None:
    with subprocess.Popen(
        [*COMMAND, "watch", "--demo", "--every", "0.2"], env=env, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["change"] == "new"
        process.stdout.close()
        assert process.wait(60) == 0
        assert process.stderr.read().decode() == NOTE
    assert nothing_is_left(env)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_an_interruption_leaves_no_traceback_and_no_process(
    env: dict[str, str], tmp_path: Path, silent: int, number: int, code: int
) -> None:
    uris = {f"hv{n}": f"qemu+tcp://127.0.0.1:{silent}/system" for n in range(3)}
    with subprocess.Popen(
        [*COMMAND, "vm", "list", "--fleet", fleet(tmp_path, **uris), "--timeout", "90"], env=env,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, start_new_session=True,
    ) as process:  # fmt: skip
        deadline = time.monotonic() + 30
        while len(leftovers(env)) < 5 and time.monotonic() < deadline:
            time.sleep(0.1)  # until command, zygote and three workers run
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (code, b"", b"")
    assert nothing_is_left(env)


def test_on_a_terminal_there_is_colour_unless_nobody_wants_it(env: dict[str, str]) -> None:
    def shown(**more: str) -> str:
        ours, theirs = pty.openpty()
        with subprocess.Popen(
            [*COMMAND, "host", "list", "--demo"], env={**env, "TERM": "xterm", **more}, stdout=theirs,
            stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        ):  # fmt: skip
            os.close(theirs)
            found = b""
            while True:
                try:
                    data = os.read(ours, 4096)
                except OSError:
                    data = b""
                if not data:
                    os.close(ours)
                    return found.decode()
                found += data

    assert "\x1b[32m● up" in shown()
    assert "\x1b" not in shown(NO_COLOR="1")


def test_top_is_live_on_a_terminal_until_ctrl_c(env: dict[str, str]) -> None:
    """`setsid --ctty` gives the command a terminal of its own, so that Ctrl-C is the terminal's."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(ours, (12, 70))
    line = ["setsid", "--ctty", "--wait", *COMMAND, "top", "--demo", "-d", "0.3"]
    with subprocess.Popen(
        line, env={**env, "TERM": "xterm"}, stdin=theirs, stdout=theirs, stderr=theirs
    ) as top:
        os.close(theirs)
        seen = ""
        while seen.count("\x1b[H") < 3:  # three pictures
            seen += os.read(ours, 4096).decode()
        os.write(ours, b"\x03")
        while True:
            try:
                data = os.read(ours, 4096)
            except OSError:
                data = b""
            if not data:
                break
            seen += data.decode()
        assert top.wait(60) == 130
    os.close(ours)
    picture = seen.split("\x1b[H")[2].split("\x1b[J")[0].replace("\x1b[K", "").splitlines()
    assert "hosts 8/8" in picture[0]
    assert "demo, simulated" in picture[0]
    assert len(picture) == 11
    assert seen.rstrip().endswith("\x1b[?25h"), "the cursor is back"
    assert "Traceback" not in seen
    assert nothing_is_left(env)


def test_completion_is_printed_and_works(env: dict[str, str]) -> None:
    assert "_VIRTFLEET_COMPLETE" in run(env, "completion bash").stdout
    words = {**env, "_VIRTFLEET_COMPLETE": "bash_complete", "COMP_WORDS": "virtfleet ho", "COMP_CWORD": "1"}
    assert run(words, "").stdout == "plain,host\n"
