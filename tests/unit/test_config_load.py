"""Good fleet files: what they become, and how sections, files and defaults come together."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtfleet.config.load import find, from_uri, load
from virtfleet.config.secret import Secret, SecretKind
from virtfleet.config.settings import AllocationRatio, Fence, Flavor, Image, Quota, Reserved, SshOptions
from virtfleet.config.yamltree import parse
from virtfleet.errors import ConfigError

FULL = """
defaults:
  ssh: {user: root, identity: id, known_hosts: ~/known, jump: bastion}
  reserved: {memory: 512MiB}
hosts:
  hv1:
    uri: "qemu+ssh://hv1.example/system"
    zone: a
    traits: [ssd]
    allocation_ratio: {cpu: 8}
    migration_address: 10.0.9.1
    ssh: {user: ops, port: 2222}
    fence: {agent: fence_ipmilan, options: {ip: 10.0.8.1, lanplus: true}, secrets: {password: "env:HV1_BMC"}}
  lx1: {uri: "lxc+ssh://root@lx1.example/", disabled: true}
  old: {uri: "qemu:///system", disabled: "until the disk is replaced"}
  yes1: {uri: "qemu:///system", disabled: no}
flavors: {small: {vcpus: 1, memory: 1GiB, disk: 10GiB}}
images: {debian12: {source: images/debian-12.qcow2, arch: x86_64, user: debian}}
volume_types: {fast: {pools: {traits: ssd}}}
projects: {web: {quota: {vcpus: 64, memory: 256GiB, volumes: 50, capacity: 2TiB}}}
ui: {theme: light}
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("VIRTFLEET_FLEET", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


def test_everything_in_its_place(tmp_path: Path, home: Path) -> None:
    (tmp_path / "id").write_text("key")
    (tmp_path / "id").chmod(0o600)
    file = tmp_path / "prod.yaml"
    file.write_text(FULL)
    fleet = load(file)
    assert (fleet.name, fleet.path, fleet.demo, fleet.ui.theme) == ("prod", str(file), False, "light")
    assert list(fleet.hosts) == ["hv1", "lx1", "old", "yes1"]
    hv1 = fleet.hosts["hv1"]
    assert (hv1.name, hv1.zone, hv1.traits, hv1.migration_address) == ("hv1", "a", ("ssd",), "10.0.9.1")
    identity, known = (str(tmp_path / "id"),), (str(home / "known"),)
    assert hv1.ssh == SshOptions(user="ops", port=2222, identity=identity, known_hosts=known, jump="bastion")
    assert fleet.hosts["lx1"].ssh.user == "root"
    assert hv1.allocation_ratio == AllocationRatio(cpu=8, memory=1, disk=20)
    assert hv1.reserved == Reserved(memory=512 * 1024**2)
    assert hv1.fence == Fence(
        agent="fence_ipmilan",
        options={"ip": "10.0.8.1", "lanplus": True},
        secrets={"password": Secret(SecretKind.ENV, "HV1_BMC")},
    )
    disabled = {name: host.disabled for name, host in fleet.hosts.items()}
    assert disabled == {
        "hv1": "",
        "lx1": "disabled in the fleet file",
        "old": "until the disk is replaced",
        "yes1": "",
    }
    assert fleet.flavors == {"small": Flavor(vcpus=1, memory=1024**3, disk=10 * 1024**3)}
    image = Image(source=str(tmp_path / "images/debian-12.qcow2"), arch="x86_64", user="debian")
    assert fleet.images == {"debian12": image}
    assert fleet.volume_types["fast"].pools.traits == ("ssd",)
    quota = Quota(vcpus=64, memory=256 * 1024**3, volumes=50, capacity=2 * 1024**4)
    assert fleet.projects["web"].quota == quota


def test_anchors_and_merges(tmp_path: Path) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text(
        "hosts:\n  a: &a {uri: 'qemu:///system', zone: x, traits: [ssd]}\n  b: {<<: *a, zone: y}\n  c: *a\n"
    )
    hosts = load(file).hosts
    assert [(h.name, h.zone, h.traits) for h in hosts.values()] == [
        ("a", "x", ("ssd",)), ("b", "y", ("ssd",)), ("c", "x", ("ssd",)),
    ]  # fmt: skip


def test_a_folder_of_files_in_order_each_with_its_own_defaults(tmp_path: Path) -> None:
    (tmp_path / "2.yml").write_text("hosts: {b: {uri: 'qemu:///system'}}\nname: all\n")
    (tmp_path / "1.yaml").write_text("defaults: {zone: z1}\nhosts: {c: {uri: 'qemu:///system'}}\n")
    (tmp_path / "3.yaml").write_text("")
    (tmp_path / "notes.txt").write_text("}")
    fleet = load(tmp_path)
    assert fleet.name == "all"
    assert {name: host.zone for name, host in fleet.hosts.items()} == {"c": "z1", "b": ""}


def test_a_fleet_without_hosts_is_empty(tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text("hosts:\n")
    assert load(tmp_path / "fleet.yaml").hosts == {}


def test_where_the_fleet_file_is_looked_for(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find(None) is None
    own = home / ".config" / "virtfleet" / "fleet.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("hosts: {}")
    assert find(None) == own
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    assert find(None) is None
    monkeypatch.setenv("VIRTFLEET_FLEET", "~/other.yaml")
    assert find(None) == home / "other.yaml"
    assert find("x.yaml") == Path("x.yaml")


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("qemu+ssh://root@hv1.example:2222/system", "hv1.example"),
        ("test:///default", "test"),
        ("qemu+ssh://[fe80::1]/system", "fe80--1"),
    ],
)
def test_connect(uri: str, name: str) -> None:
    fleet = from_uri(uri)
    assert {key: (host.name, host.uri) for key, host in fleet.hosts.items()} == {name: (name, uri)}


def test_connect_to_nonsense() -> None:
    with pytest.raises(ConfigError) as caught:
        from_uri("hv1")
    expected = '--connect: "hv1": no scheme; accepted: a URI like qemu+ssh://HOST/system'
    assert str(caught.value) == expected


def test_a_secret_is_read_where_it_is_and_never_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BMC", "s3cret")
    file = tmp_path / "bmc"
    file.write_text("f1le\n")
    file.chmod(0o600)
    secrets = [Secret.parse(text, tmp_path) for text in ("env:BMC", "file:bmc", "prompt")]
    assert [secret.read() for secret in secrets] == ["s3cret", "f1le", None]
    assert [repr(secret) for secret in secrets] == ["Secret(env)", "Secret(file)", "Secret(prompt)"]
    file.chmod(0o604)
    with pytest.raises(ConfigError) as caught:
        secrets[1].read()
    assert str(caught.value) == (
        f"the secret file {file} can be read by others (mode 0604); chmod 600 {file}"
    )
    monkeypatch.delenv("BMC")
    with pytest.raises(ConfigError) as caught:
        secrets[0].read()
    assert str(caught.value) == "the environment variable BMC is not set"


def test_defaults_of_the_types_stand() -> None:
    host = from_uri("qemu:///system").hosts.popitem()[1]
    assert (host.interval, host.pools_interval, host.simulate, host.fence) == (2.0, 10.0, None, None)


@given(st.text(max_size=80))
def test_whatever_is_in_the_file_the_answer_is_a_tree_or_a_config_error(text: str) -> None:
    try:
        node = parse(text, "f")
    except ConfigError as error:
        where = error.where
    else:
        where = node.where if node else "f"
    assert where.startswith("f")
