"""The wires of the lab: one bridge in the root namespace, one link per host into a namespace of its own."""

from __future__ import annotations

import json
from pathlib import Path

from lab.registry import LabRecord
from lab.run import run

NETNS = Path("/run/netns")


def _batch(*lines: str) -> None:
    """Several `ip` commands in one process: at dozens of hosts the forks would be what costs."""
    run(["ip", "-batch", "-"], stdin="\n".join(lines) + "\n")


def make_bridge(record: LabRecord) -> None:
    """The switch that all hosts and the tests hang on."""
    _batch(
        f"link add {record.bridge} type bridge stp_state 0 forward_delay 0",
        f"address add {record.gateway}/24 dev {record.bridge}",
        f"link set {record.bridge} up",
    )


def make_link(record: LabRecord, host: str) -> None:
    """A host's network namespace and its cable to the bridge."""
    netns, link = record.netns(host), record.link(host)
    # A card keeps its hardware address when its host is powered off and on; with a new one each time, the
    # neighbours would send to the old for half a minute.
    card = f"02:76:66:6c:{record.slot:02x}:{record.index(host):02x}"
    _batch(
        f"netns add {netns}",
        f"link add {link} type veth peer name eth0 address {card} netns {netns}",
        f"link set {link} master {record.bridge} up",
    )
    run(
        ["ip", "-n", netns, "-batch", "-"],
        stdin=f"link set lo up\naddress add {record.address(host)}/24 dev eth0\nlink set eth0 up\n",
    )


def remove_link(record: LabRecord, host: str) -> None:
    """Take a host's cable and namespace away; whatever is gone already is no error."""
    # The link first: a namespace is taken apart in the background, and its cable would linger with it.
    run(["ip", "link", "delete", record.link(host)], check=False)
    run(["ip", "netns", "delete", record.netns(host)], check=False)


def remove_bridge(record: LabRecord) -> None:
    """Take the switch away."""
    run(["ip", "link", "delete", record.bridge], check=False)


def links(record: LabRecord) -> list[str]:
    """Interfaces of the root namespace that belong to the lab."""
    shown = json.loads(run(["ip", "-json", "link", "show"]).stdout)
    names = [str(link["ifname"]) for link in shown]
    prefix = record.bridge
    return [name for name in names if name == prefix or name.startswith(prefix + "h")]


def namespaces(record: LabRecord) -> list[str]:
    """Named network namespaces that belong to the lab."""
    if not NETNS.is_dir():
        return []
    wanted = {record.netns(host) for host in record.hosts}
    return sorted(entry.name for entry in NETNS.iterdir() if entry.name in wanted)


def set_link(record: LabRecord, host: str, *, up: bool) -> None:
    """Plug a host's cable in or pull it: established connections hang, new ones find no host."""
    run(["ip", "link", "set", record.link(host), "up" if up else "down"])


def link_is_up(record: LabRecord, host: str) -> bool:
    """Whether the cable is plugged in."""
    shown = json.loads(run(["ip", "-json", "link", "show", record.link(host)]).stdout)
    return "UP" in shown[0]["flags"]


def limit_rate(record: LabRecord, host: str, kbit: int | None) -> None:
    """Make a host's link slow in both directions, or (None) as fast as it was."""
    for prefix in (["tc"], ["tc", "-n", record.netns(host)]):
        device = "eth0" if len(prefix) > 1 else record.link(host)
        run([*prefix, "qdisc", "delete", "dev", device, "root"], check=False)
        if kbit is not None:
            shape = ["rate", f"{kbit}kbit", "burst", "32kbit", "latency", "400ms"]
            run([*prefix, "qdisc", "add", "dev", device, "root", "tbf", *shape])


def is_limited(record: LabRecord, host: str) -> bool:
    """Whether `limit_rate` is in force."""
    return " tbf " in run(["tc", "qdisc", "show", "dev", record.link(host)]).stdout
