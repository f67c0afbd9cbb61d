"""Figures from texts of /proc, of real hosts and of hostile ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtfleet.hypervisor import procfs
from virtfleet.hypervisor.hoststats import HostSampler
from virtfleet.hypervisor.procfs import Cpu, Memory, Mount, Transfer
from virtfleet.model import HostStats, HugePages

STAT = "cpu  1000 200 300 8000 400 50 50 0 700 0\ncpu0 500 100 150 4000 200 25 25 0 350 0\nintr 1 2 3\n"
MEMINFO = """MemTotal:       16384000 kB
MemFree:         1024000 kB
MemAvailable:    8192000 kB
Buffers:          204800 kB
Cached:          6144000 kB
HugePages_Total:      64
HugePages_Free:       48
Hugepagesize:       2048 kB
DirectMap4k:      300000 kB
"""
NET = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls
    lo: 3245 30 0 0 0 0 0 0 3245 30 0 0 0 0 0 0
  eno1: 1000 1 0 0 0 0 0 0 2000 1 0 0 0 0 0 0
enp3s0f1np1:7 1 0 0 0 0 0 0 8 1 0 0 0 0 0 0
wlp2s0: 5 1 0 0 0 0 0 0 6 1 0 0 0 0 0 0
 bond0: 1000 1 0 0 0 0 0 0 2000 1 0 0 0 0 0 0
  br0: 900 1 0 0 0 0 0 0 900 1 0 0 0 0 0 0
br-prod: 900 1 0 0 0 0 0 0 900 1 0 0 0 0 0 0
virbr0: 900 1 0 0 0 0 0 0 900 1 0 0 0 0 0 0
 vnet3: 800 1 0 0 0 0 0 0 800 1 0 0 0 0 0 0
tap0123: 800 1 0 0 0 0 0 0 800 1 0 0 0 0 0 0
veth9f2c: 800 1 0 0 0 0 0 0 800 1 0 0 0 0 0 0
macvtap0: 800 1 0 0 0 0 0 0 800 1 0 0 0 0 0 0
eno1.100: 700 1 0 0 0 0 0 0 700 1 0 0 0 0 0 0
ovs-system: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0
docker0: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0
  ib0: x 1 0 0 0 0 0 0 8 1 0 0 0 0 0 0
"""
DISKS = """   8       0 sda 100 0 2000 10 50 0 4000 10 0 5 5
   8       1 sda1 90 0 1900 10 50 0 4000 10 0 5 5
 259       0 nvme0n1 10 0 20 1 5 0 40 1 0 1 1 0 0 0 0
 259       1 nvme0n1p1 10 0 20 1 5 0 40 1 0 1 1
 259       9 nvme1c0n1 10 0 20 1 5 0 40 1 0 1 1
 202       1 xvda1 1 0 2 1 1 0 4 1 0 1 1
 253       0 dm-0 100 0 2000 10 50 0 4000 10 0 5 5
   9       0 md0 100 0 2000 10 50 0 4000 10 0 5 5
   7       0 loop0 1 0 2 1 1 0 4 1 0 1 1
  11       0 sr0 1 0 2 1 1 0 4 1 0 1 1
 251       0 rbd0 1 0 6 1 1 0 8 1 0 1 1
 252       0 zram0 1 0 6 1 1 0 8 1 0 1 1
 garbage
   8      16 sdb one two three four five six seven
"""


def test_cpu() -> None:
    assert procfs.cpu(STAT) == Cpu(total=10_000, idle=8000, iowait=400)
    assert procfs.cpu_pct(Cpu(10_000, 8000, 400), Cpu(11_000, 8300, 600)) == (50.0, 20.0)
    assert procfs.cpu("cpu 1 2 3 4") == Cpu(10, 4, 0)


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (None, Cpu(1, 1, 0)),
        (Cpu(1, 1, 0), None),
        (Cpu(10, 5, 0), Cpu(10, 5, 0)),
        (Cpu(10, 5, 0), Cpu(5, 2, 0)),
        (Cpu(10, 5, 0), Cpu(20, 4, 0)),
    ],
)
def test_cpu_without_a_rate(before: Cpu | None, now: Cpu | None) -> None:
    assert procfs.cpu_pct(before, now) == (None, None)


def test_iowait_may_run_backwards() -> None:
    assert procfs.cpu_pct(Cpu(100, 50, 30), Cpu(200, 100, 20)) == (50.0, 0.0)


def test_memory() -> None:
    found = procfs.memory(MEMINFO)
    assert found == Memory(16384000 * 1024, 8192000 * 1024)
    assert found is not None
    assert found.used == 8192000 * 1024
    old = MEMINFO.replace("MemAvailable", "Something")
    assert procfs.memory(old) == Memory(16384000 * 1024, (1024000 + 204800 + 6144000) * 1024)
    assert procfs.memory("MemTotal: 5 kB") is None
    assert procfs.memory("MemTotal: -5 kB\nMemAvailable: 3 kB") is None


@given(st.integers(0, 2**66), st.integers(0, 2**66), st.text())
def test_memory_in_use_is_never_negative(total: int, available: int, tail: str) -> None:
    found = procfs.memory(f"MemTotal: {total} kB\nMemAvailable: {available} kB\n{tail}")
    assert found is None or 0 <= found.used <= found.total < 2**63


def test_load_and_uptime() -> None:
    assert procfs.load1("0.52 0.58 0.59 1/389 12345\n") == 0.52
    assert procfs.uptime("350735.47 234388.90\n") == 350735.47
    for text in ("", "nan 1", "inf", "-1.0", "1e400", "0x10", "٣.٠"):
        assert procfs.load1(text) is None
        assert procfs.uptime(text) is None


def test_a_frame_is_counted_at_the_card_alone() -> None:
    assert procfs.interfaces(NET) == {
        "eno1": Transfer(1000, 2000),
        "enp3s0f1np1": Transfer(7, 8),
        "wlp2s0": Transfer(5, 6),
    }
    assert procfs.interfaces(NET, physical={"br0", "nonsense"}) == {"br0": Transfer(900, 900)}


def test_a_block_is_counted_at_the_disk_alone() -> None:
    assert procfs.disks(DISKS) == {
        "sda": Transfer(2000 * 512, 4000 * 512),
        "nvme0n1": Transfer(20 * 512, 40 * 512),
        "xvda1": Transfer(2 * 512, 4 * 512),
        "rbd0": Transfer(6 * 512, 8 * 512),
    }


def test_neighbours() -> None:
    arp = """IP address       HW type     Flags       HW address            Mask     Device
192.168.122.7    0x1         0x2         52:54:00:AA:00:01     *        virbr0
10.0.0.7         0x1         0x2         52:54:00:aa:00:01     *        br0
10.0.0.8         0x1         0x0         52:54:00:aa:00:02     *        br0
10.0.0.9         0x1         0x2         00:00:00:00:00:00     *        br0
not-an-address   0x1         0x2         52:54:00:aa:00:03     *        br0
10.0.0.10        0x1         0x2         \x1b[2J               *        br0
"""
    assert procfs.neighbours(arp) == {"52:54:00:aa:00:01": ("192.168.122.7", "10.0.0.7")}


def test_a_guest_that_answers_for_everybody_has_few_addresses() -> None:
    arp = "\n".join(f"10.0.{n // 250}.{n % 250} 0x1 0x2 52:54:00:aa:00:01 * br0" for n in range(100_000))
    assert len(procfs.neighbours(arp)["52:54:00:aa:00:01"]) == 16


def test_filesystem_of_a_path() -> None:
    mounts = (
        "/dev/sda1 / ext4 rw 0 0\n"
        "tmpfs /srv tmpfs rw 0 0\n"
        "nas1:/export /srv/pool nfs4 rw 0 0\n"
        "g1:/vol /srv/pool\\040two fuse.glusterfs rw 0 0\n"
        "/dev/sdb /srv xfs rw 0 0\n"
        "broken\n"
    )
    assert procfs.mount_of(mounts, "/srv/pool/") == Mount("nas1:/export", "/srv/pool", "nfs4")
    assert procfs.fs_of(mounts, "/srv/pool two/images") == "fuse.glusterfs"
    assert procfs.fs_of(mounts, "/srv/poolside") == "xfs"
    assert procfs.fs_of(mounts, "/var/lib/libvirt/images") == "ext4"
    assert procfs.fs_of(mounts, "relative") is None
    assert procfs.fs_of("", "/srv") is None


def test_names() -> None:
    release = 'NAME="Debian GNU/Linux"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)\x1b"\nVERSION="12"\n'
    assert procfs.os_name(release) == "Debian GNU/Linux 12 (bookworm)\ufffd"
    assert procfs.os_name("NAME=Alpine\nVERSION='3.20'") == "Alpine 3.20"
    assert procfs.os_name("") is None
    assert procfs.cpu_model("processor\t: 0\nmodel name\t: AMD EPYC 7543P\n") == "AMD EPYC 7543P"
    assert procfs.cpu_model("bogus") is None


def test_hugepages() -> None:
    listing = "hugepages-1048576kB 4 1\nhugepages-2048kB 512 600\nhugepages-*kB\nhugepages-64kB x y\n"
    assert procfs.hugepages(listing) == (HugePages(2 * 1024**2, 512, 512), HugePages(1024**3, 4, 1))
    assert procfs.hugepages("") == ()
    assert procfs.hugepages_of_meminfo(MEMINFO) == (HugePages(2 * 1024**2, 64, 48),)
    assert procfs.hugepages_of_meminfo("") == ()


PARSERS = (
    procfs.cpu,
    procfs.memory,
    procfs.load1,
    procfs.uptime,
    procfs.interfaces,
    procfs.disks,
    procfs.neighbours,
    procfs.os_name,
    procfs.cpu_model,
    procfs.hugepages,
    procfs.hugepages_of_meminfo,
)
WORDS = ("cpu", "sda", "eth0:", "MemTotal:", "1", "²", "٣", "-1", "9" * 400, "\x00", "\n", " ")
hostile = st.one_of(st.text(), st.lists(st.sampled_from(WORDS)).map(" ".join))


@given(hostile)
def test_no_text_is_too_odd(text: str) -> None:
    for parser in PARSERS:
        parser(text)
    procfs.fs_of(text, "/srv")


def texts(seconds: int) -> dict[str, str]:
    return {
        "stat": f"cpu {10 * seconds} 0 0 {80 * seconds} {10 * seconds} 0 0 0 0 0\n",
        "meminfo": MEMINFO,
        "loadavg": "1.50 1.00 0.50 1/100 7",
        "uptime": f"{seconds}.00 1.00",
        "net/dev": f"eno1: {1000 * seconds} 0 0 0 0 0 0 0 {500 * seconds} 0 0 0 0 0 0 0\n",
        "diskstats": f"8 0 sda 1 0 {2 * seconds} 1 1 0 {4 * seconds} 1 0 1 1\n",
        "hugepages": "hugepages-2048kB 8 2\n",
    }


def test_host_sample_from_proc() -> None:
    sampler = HostSampler()
    first = sampler.from_proc(texts(100), 50.0)
    assert (first.cpu_pct, first.disk_read, first.net_tx, first.load1) == (None, None, None, 1.5)
    assert sampler.from_proc(texts(104), 54.0) == HostStats(
        cpu_pct=10.0,
        iowait_pct=10.0,
        memory_used=8192000 * 1024,
        memory_total=16384000 * 1024,
        load1=1.5,
        uptime_s=104.0,
        disk_read=1024.0,
        disk_write=2048.0,
        net_rx=1000.0,
        net_tx=500.0,
        hugepages_free=4 * 1024**2,
    )
    assert sampler.from_proc({}, 58.0) == HostStats()


def test_host_sample_from_libvirt() -> None:
    sampler = HostSampler()
    memory = {"total": 1000, "free": 300, "buffers": 50, "cached": 250}
    sampler.from_libvirt({"kernel": 10, "user": 20, "idle": 60, "iowait": 10}, memory)
    later = sampler.from_libvirt({"kernel": 20, "user": 50, "idle": 110, "iowait": 20}, memory)
    assert later == HostStats(cpu_pct=40.0, iowait_pct=10.0, memory_used=400 * 1024, memory_total=1000 * 1024)
    lying = sampler.from_libvirt(None, {"total": 1000, "free": 0})
    assert (lying.cpu_pct, lying.memory_used, lying.memory_total) == (None, None, 1000 * 1024)
    assert sampler.from_libvirt({"idle": "x"}, {"total": "y"}) == HostStats()
