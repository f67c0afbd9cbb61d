"""The lab proves itself first: what the other tests stand on is real, breaks as said, heals, and vanishes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import paramiko
import pytest
import yaml

from lab import guest, proc, registry, teardown
from lab.conftest import FreshLab
from lab.errors import LabError
from lab.fleet import Lab
from lab.host import LabHost
from lab.run import run, wait_until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

BOOT = 150.0
"""A generous deadline for a guest's boot: the machine may be busy with other things."""
TESTS = Path(__file__).parent.parent
BARE = {"hosts": 1, "guests": 0, "off": 0, "containers": 0, "shared": False}


def login(
    host: LabHost, *, key: Path | None = None, password: str | None = None, lab: Lab | None = None
) -> paramiko.SSHClient:
    """Log in to a host as a client that checks host keys."""
    client = paramiko.SSHClient()
    client.load_host_keys(str(host.record.folder / "ssh" / "known_hosts"))
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    client.connect(
        host.address, username="root", key_filename=str(key) if key else None, password=password,
        allow_agent=False, look_for_keys=False, timeout=15, banner_timeout=15, auth_timeout=15,
    )  # fmt: skip
    return client


def guest_says(host: LabHost, lab: Lab, name: str, command: str, key: paramiko.PKey | None = None) -> str:
    """Run a command in a guest: SSH to it through its host, as a user of the console would."""
    found = guest.address(host, name)
    assert found is not None
    outer = login(host, key=lab.identity)
    try:
        carrier = outer.get_transport()
        assert carrier is not None
        channel = carrier.open_channel("direct-tcpip", (found, 22), ("127.0.0.1", 0), timeout=30)
        inner = paramiko.Transport(channel)
        try:
            inner.start_client(timeout=60)
            if key is None:
                inner.auth_password("root", "lab")
            else:
                inner.auth_publickey("root", key)
            session = inner.open_session(timeout=30)
            session.exec_command(command)
            return session.makefile().read().decode()
        finally:
            inner.close()
    finally:
        outer.close()


def booted(host: LabHost, name: str) -> None:
    """Wait until a guest shows its login and its services."""
    for words in ("login:", "services are up"):
        wait_until(lambda: words in guest.console_text(host, name), f"{name}: {words!r}", timeout=BOOT)  # noqa: B023
    wait_until(lambda: guest.address(host, name) is not None, f"{name}: address", timeout=BOOT)


# -- what is there -------------------------------------------------------------------------------------------


def test_every_host_is_a_libvirt_of_its_own(lab: Lab) -> None:
    assert len(lab.hosts) == 3
    assert all(host.libvirt_answers() for host in lab.hosts.values())
    identities = {host.virsh("capabilities").split("<uuid>")[1][:36] for host in lab.hosts.values()}
    assert len(identities) == 3
    for name, host in lab.hosts.items():
        assert host.exec(["hostname"]).stdout.strip() == name
        assert all(host.pids(program) for program in ("sshd", "libvirtd", "virtlogd", "virtlockd"))
        assert set(host.pools()) == {"local", "shared"}
        assert "default" in host.virsh("net-list --name")


def test_the_fleet_file_names_every_door(lab: Lab) -> None:
    fleet = yaml.safe_load(lab.fleet_file.read_text())
    assert list(fleet["hosts"]) == ["hv1", "hv2", "hv3", "lx1"]
    assert fleet["hosts"]["hv2"] == {"uri": lab.host("hv2").uri, "zone": "b"}
    assert fleet["hosts"]["lx1"]["uri"] == f"lxc+ssh://root@{lab.host('hv1').address}/"
    assert Path(fleet["defaults"]["ssh"]["identity"]).stat().st_mode & 0o077 == 0


def test_root_logs_in_by_key_and_by_password(lab: Lab) -> None:
    host = lab.host("hv1")
    for way in ({"key": lab.identity}, {"password": host.password}):
        client = login(host, **way)
        _, output, _ = client.exec_command("hostname", timeout=15)
        assert output.read().decode().strip() == "hv1"
        client.close()


def test_hosts_log_in_to_each_other(lab: Lab) -> None:
    one = lab.host("hv1")
    assert one.exec(["ssh", "root@hv2", "hostname"]).stdout.strip() == "hv2"
    uri = "qemu+ssh://root@hv3/system"
    assert "hv3-vm1" in one.exec(["virsh", "-c", uri, "list", "--all", "--name"]).stdout
    assert one.exec(["ssh", "root@hv2", "virt-ssh-helper", "--version"]).returncode == 0


def test_what_a_host_writes_is_its_own(lab: Lab) -> None:
    host = lab.host("hv1")
    for path in ("/etc", "/root", "/srv", "/tmp", "/var/lib/virtfleet", "/run"):
        host.exec(["sh", "-c", f"echo hv1 >{path}/lab-probe"], check=True)
        assert not Path(f"{path}/lab-probe").exists()
        assert not lab.host("hv2").inside(f"{path}/lab-probe").exists()
        host.exec(["rm", f"{path}/lab-probe"], check=True)


def test_guest_boots_to_a_login_takes_an_address_and_answers_ssh(lab: Lab) -> None:
    host = lab.host("hv1")
    booted(host, "hv1-vm1")
    assert guest_says(host, lab, "hv1-vm1", "hostname").strip() == "lab-guest"


def test_container_runs(lab: Lab) -> None:
    host = lab.host("hv1")
    if host.warnings():
        pytest.skip(host.warnings())
    assert host.virsh("domstate hv1-ct1", uri=guest.LXC).strip() == "running"
    inside = host.exec(
        ["virsh", "-c", guest.LXC, "lxc-enter-namespace", "hv1-ct1", "--noseclabel", "/bin/hostname"]
    )
    assert inside.stdout.strip() == "hv1-ct1"


@pytest.fixture
def seeded(hosts: dict[str, LabHost], lab: Lab, tmp_path: Path) -> tuple[LabHost, paramiko.PKey]:
    """A VM as a cloud makes it: an overlay over the image, a NoCloud seed, a boot through the BIOS."""
    host = hosts["hv2"]
    key = tmp_path / "key"
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "seed", "-f", str(key)])
    (tmp_path / "meta-data").write_text("instance-id: i-0042\nlocal-hostname: web-1\n")
    (tmp_path / "user-data").write_text(
        f"#cloud-config\nssh_authorized_keys:\n  - {key.with_suffix('.pub').read_text()}"
    )
    seed = host.inside("/srv/local/web-1-seed.iso")
    run(
        ["genisoimage", "-quiet", "-V", "cidata", "-J", "-r", "-o", str(seed), "user-data", "meta-data"],
        cwd=tmp_path,
    )
    run(["cp", str(lab.image), str(host.inside("/srv/local/base.qcow2"))])
    overlay = [
        "qemu-img",
        "create",
        "-q",
        "-f",
        "qcow2",
        "-F",
        "qcow2",
        "-b",
        "base.qcow2",
        "/srv/local/web-1.qcow2",
    ]
    host.exec(overlay, check=True)
    made = guest.os_guest(host, "web-1", 99, "/srv/local/web-1.qcow2", direct=False)
    cdrom = (
        "<disk type='file' device='cdrom'><driver name='qemu' type='raw'/>"
        "<source file='/srv/local/web-1-seed.iso'/><target dev='hda' bus='ide'/><readonly/></disk>"
    )
    host.inside("/tmp/web-1.xml").write_text(made.xml.replace("<interface", cdrom + "<interface", 1))
    host.virsh("define /tmp/web-1.xml", "start web-1")
    return host, paramiko.Ed25519Key.from_private_key_file(str(key))


def test_image_boots_by_itself_and_reads_its_seed(seeded: tuple[LabHost, paramiko.PKey], lab: Lab) -> None:
    host, key = seeded
    booted(host, "web-1")
    assert guest_says(host, lab, "web-1", "cat /etc/hostname /etc/instance-id", key).split() == [
        "web-1",
        "i-0042",
    ]


def test_guest_obeys_the_power_button(hosts: dict[str, LabHost]) -> None:
    host = hosts["hv1"]
    booted(host, "hv1-vm2")
    host.virsh("shutdown hv1-vm2")
    wait_until(lambda: host.virsh("domstate hv1-vm2").strip() == "shut off", "shutdown", timeout=60)


def test_live_migration_on_the_shared_pool(hosts: dict[str, LabHost], lab: Lab) -> None:
    source, target = hosts["hv2"], hosts["hv3"]
    run(["cp", str(lab.image), str(source.inside("/srv/shared/mover.qcow2"))])
    made = guest.os_guest(source, "mover", 98, "/srv/shared/mover.qcow2")
    source.inside("/tmp/mover.xml").write_text(made.xml)
    source.virsh("define /tmp/mover.xml", "start mover")
    booted(source, "mover")
    uri = f"qemu+ssh://root@{target.name}/system"
    source.virsh(f"migrate --live --p2p --persistent --undefinesource mover {uri}", timeout=120)
    assert target.virsh("domstate mover").strip() == "running"
    assert "mover" not in source.virsh("list --all --name")


# -- faults --------------------------------------------------------------------------------------------------


def answers(host: LabHost, port: int = 22) -> bool:
    """Whether something accepts connections and speaks within a few seconds."""
    try:
        with socket.create_connection((host.address, port), timeout=4) as connection:
            connection.settimeout(4)
            return bool(connection.recv(4))
    except OSError:
        return False


def test_frozen_libvirtd_accepts_and_does_not_answer(hosts: dict[str, LabHost], lab: Lab) -> None:
    host = hosts["hv1"]
    host.freeze_libvirtd()
    assert answers(host)
    assert not host.libvirt_answers(timeout=3)
    assert hosts["hv2"].libvirt_answers()
    host.thaw_libvirtd()
    assert host.libvirt_answers()


def test_frozen_vm_leaves_its_host_well(hosts: dict[str, LabHost]) -> None:
    host = hosts["hv1"]
    host.freeze_vm("hv1-vm1")
    pid = host.qemu_pid("hv1-vm1")
    wait_until(lambda: proc.state(pid) == "T", "stopped")
    assert host.libvirt_answers()
    host.thaw_vm("hv1-vm1")
    wait_until(lambda: proc.state(pid) in ("R", "S"), "running")


def test_killed_libvirtd_leaves_guests_alive(hosts: dict[str, LabHost]) -> None:
    host = hosts["hv1"]
    pid = host.qemu_pid("hv1-vm1")
    host.kill_libvirtd()
    assert not host.libvirt_answers(timeout=5)
    assert proc.state(pid) is not None
    host.start_libvirtd()
    assert host.virsh("domstate hv1-vm1").strip() == "running"


def test_killed_sshd_refuses(hosts: dict[str, LabHost], lab: Lab) -> None:
    host = hosts["hv1"]
    client = login(host, key=lab.identity)
    host.kill_sshd()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host.address, 22), timeout=5)
    transport = client.get_transport()
    assert transport is not None
    wait_until(lambda: not transport.is_active(), "session dead")
    client.close()
    host.start_sshd()
    assert answers(host)


def test_cut_link_is_silence(hosts: dict[str, LabHost]) -> None:
    host = hosts["hv1"]
    with socket.create_connection((host.address, 22), timeout=5) as connection:
        assert connection.recv(4) == b"SSH-"
        host.cut_link()
        assert not answers(host)
        assert answers(hosts["hv2"])
        host.mend_link()
        wait_until(lambda: answers(host), "mended")


def test_slow_link_is_slow(hosts: dict[str, LabHost], lab: Lab) -> None:
    host = hosts["hv1"]
    host.slow_link(1000)
    client = login(host, key=lab.identity)
    begun = time.monotonic()
    _, output, _ = client.exec_command("head -c 250000 /dev/zero", timeout=60)
    assert len(output.read()) == 250000
    assert time.monotonic() - begun > 1.0
    client.close()


def test_power_off_and_on(hosts: dict[str, LabHost]) -> None:
    host = hosts["hv1"]
    host.exec(["sh", "-c", "echo kept >/srv/local/kept; echo gone >/run/gone"], check=True)
    host.power_off()
    assert not host.is_on()
    assert not answers(host)
    with pytest.raises(LabError, match="powered off"):
        host.exec(["true"])
    host.power_on()
    assert host.libvirt_answers()
    assert host.inside("/srv/local/kept").read_text() == "kept\n"
    assert not host.inside("/run/gone").exists()
    assert host.virsh("list --name").split() == []


def test_filled_pool_is_full(hosts: dict[str, LabHost]) -> None:
    host = hosts["hv1"]
    room = 8 << 20
    for pool in ("local", "shared"):
        host.fill_pool(pool, leave_bytes=room)
        usage = os.statvfs(host.inside(f"/srv/{pool}"))
        assert usage.f_bavail * usage.f_frsize <= room
        volume = f"vol-create-as {pool} too-big.raw 64M --allocation 64M --format raw"
        with pytest.raises(LabError, match=r"(?i)space|allocate"):
            host.virsh(volume)
        host.empty_pool(pool)
        host.virsh(volume)


def test_changed_host_key_is_noticed(hosts: dict[str, LabHost], lab: Lab) -> None:
    host = hosts["hv1"]
    host.change_host_key()
    with pytest.raises(paramiko.BadHostKeyException):
        login(host, key=lab.identity)
    host.restore_host_key()
    login(host, key=lab.identity).close()


def test_ways_to_log_in_can_be_chosen(hosts: dict[str, LabHost], lab: Lab) -> None:
    host = hosts["hv1"]
    host.set_auth_methods("keyboard-interactive")
    with pytest.raises(paramiko.SSHException):
        login(host, key=lab.identity)
    transport = paramiko.Transport((host.address, 22))
    transport.start_client(timeout=15)
    asked: list[str] = []

    def answer(title: str, instructions: str, fields: list[tuple[str, bool]]) -> list[str]:
        asked.extend(prompt for prompt, _ in fields)
        return [host.password for _ in fields]

    transport.auth_interactive("root", answer)
    assert transport.is_authenticated()
    assert asked
    transport.close()


def test_everything_broken_at_once_is_healed(lab: Lab) -> None:
    one, two, three = lab.hosts.values()
    one.virsh("undefine hv1-vm3", "destroy hv1-vm1", "desc hv1-vm2 --config changed")
    one.inside("/srv/local/hv1-vm3.qcow2").unlink()
    one.inside("/srv/local/stranger.raw").write_text("x")
    one.inside("/var/lib/virtfleet/host.json").write_text("{}")
    one.freeze_vm("hv1-vm2")
    one.change_host_key()
    one.freeze_libvirtd()
    two.power_off()
    three.kill_sshd()
    three.kill_libvirtd()
    three.cut_link()
    lab.heal()
    for host in lab.hosts.values():
        assert host.libvirt_answers()
        assert sorted(host.virsh("list --name").split()) == [f"{host.name}-vm1", f"{host.name}-vm2"]
        assert sorted(path.name for path in host.inside("/srv/local").iterdir()) == [
            f"{host.name}-vm{number}.qcow2" for number in (1, 2, 3)
        ]
    assert "hv1-vm3" in one.virsh("list --all --name")
    assert "changed" not in one.virsh("dumpxml hv1-vm2")
    assert list(one.inside("/var/lib/virtfleet").iterdir()) == []
    assert not two.is_shared_lost()


# -- nothing left behind -------------------------------------------------------------------------------------


def gone(record: registry.LabRecord) -> None:
    """Wait until no trace of a lab is left (its owner's death is cleaned up by its reaper, in time)."""
    wait_until(lambda: not teardown.leftovers(record), f"{record.name} gone", timeout=60, interval=0.2)


def test_two_labs_at_once(lab: Lab, fresh_lab: FreshLab) -> None:
    other = fresh_lab(**BARE)
    assert other.record.slot != lab.record.slot
    assert other.record.bridge != lab.record.bridge
    assert other.host("hv1").libvirt_answers()
    with pytest.raises(LabError, match="there is a lab named"):
        fresh_lab(name=other.name, **BARE)
    other.down()
    assert teardown.leftovers(other.record) == []
    assert lab.host("hv1").libvirt_answers()


def test_nothing_is_left_of_a_busy_lab(fresh_lab: FreshLab) -> None:
    busy = fresh_lab(hosts=2, guests=1, off=0, containers=1, shared=True, empty=True)
    busy.host("hv1").freeze_libvirtd()
    busy.host("hv2").power_off()
    assert teardown.leftovers(busy.record) != []
    busy.down()
    assert teardown.leftovers(busy.record) == []


def test_nothing_is_left_when_building_fails(fresh_lab: FreshLab, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[registry.LabRecord] = []

    def fail(host: LabHost, *_: object) -> None:
        seen.append(host.record)
        raise LabError("no guests today")

    monkeypatch.setattr(guest, "populate", fail)
    with pytest.raises(LabError, match="no guests today"):
        fresh_lab(**BARE)
    assert teardown.leftovers(seen[0]) == []


def script(text: str) -> subprocess.Popen[str]:
    """A process of its own that owns a lab."""
    argv = [sys.executable, "-c", textwrap.dedent(text)]
    env = {**os.environ, "PYTHONPATH": str(TESTS)}
    return subprocess.Popen(argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_nothing_is_left_when_the_owner_is_killed() -> None:
    with script(f"""
        from lab.fleet import Lab, Plan
        lab = Lab.start(Plan(**{BARE}))
        print(lab.name, flush=True)
        input()
    """) as owner:
        assert owner.stdout is not None
        record = registry.load(owner.stdout.readline().strip())
        assert LabHost(record, "hv1").libvirt_answers()
        owner.kill()
    gone(record)


def test_nothing_is_left_when_the_owner_forgets() -> None:
    with script(f"""
        from lab.fleet import Lab, Plan
        print(Lab.start(Plan(**{BARE})).name, flush=True)
    """) as owner:
        assert owner.stdout is not None
        name = owner.stdout.readline().strip()
        record = registry.load(name)
    gone(record)


def _hears_interrupts() -> None:
    """Whoever runs the tests in the background may have them ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("delay", [0.0, 0.6, 1.5])
def test_nothing_is_left_when_building_is_interrupted(number: signal.Signals, delay: float) -> None:
    name = f"cut-{number.value}-{int(delay * 10)}"
    with subprocess.Popen(
        [sys.executable, "-m", "lab", "up", "-n", "2", "--empty", "--name", name],
        env={**os.environ, "PYTHONPATH": str(TESTS)}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        start_new_session=True, preexec_fn=_hears_interrupts,
    ) as builder:  # fmt: skip
        wait_until(lambda: (registry.BASE / name / "lab.json").exists(), "record", timeout=30)
        record = registry.load(name)
        time.sleep(delay)
        # To the whole group, as a terminal does it.
        os.killpg(builder.pid, number)
        builder.wait(60)
        assert builder.returncode != 0
    gone(record)


def test_a_lab_that_stays_outlives_its_builder_and_goes_down_by_name() -> None:
    name = "stays-a-while"
    lab_command = [sys.executable, "-m", "lab"]
    env = {"PYTHONPATH": str(TESTS)}
    try:
        up = [
            *lab_command,
            "up",
            "-n",
            "1",
            "--guests",
            "1",
            "--off",
            "0",
            "--lxc",
            "0",
            "--empty",
            "--name",
            name,
        ]
        said = run(up, env=env, timeout=120).stdout.splitlines()
        assert said[-1] == str(registry.BASE / name / "fleet.yaml")
        lab = Lab.attach(name)
        assert lab.host("hv1").libvirt_answers()
        run([*lab_command, "kill-libvirtd", "hv1", "--name", name], env=env)
        assert not lab.host("hv1").pids("libvirtd")
        listed = run([*lab_command, "exec", "--name", name, "hv1", "--", "hostname"], env=env).stdout
        assert listed == "hv1\n"
    finally:
        run([*lab_command, "down", "--name", name], env=env, timeout=120)
    assert teardown.leftovers(lab.record) == []


def test_an_abandoned_lab_is_swept_by_the_next(fresh_lab: FreshLab) -> None:
    with script(f"""
        import os, signal
        from lab.fleet import Lab, Plan
        lab = Lab.start(Plan(**{BARE}))
        # Even the one who cleans up is dead: the worst that can happen.
        os.kill(lab._reaper.pid, signal.SIGKILL)
        print(lab.name, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """) as owner:
        assert owner.stdout is not None
        record = registry.load(owner.stdout.readline().strip())
    assert record.abandoned
    assert teardown.leftovers(record) != []
    next_lab = fresh_lab(**BARE)
    # The next one may have taken the same subnet: what is named after that is its own.
    assert next_lab.name != record.name
    assert not record.folder.exists()
    assert teardown.processes(record) == []
    assert not any(record.name in what for what in teardown.leftovers(record))
