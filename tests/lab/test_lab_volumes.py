"""Volumes on a real host: made where there is room, grown, copied, brought and fetched, given to VMs; and the
faults that belong to that. Two pools of one host, each on a file system of its own, of which one is small."""

from __future__ import annotations

from pathlib import Path

import pytest

from virtfleet.hypervisor.faults import translate as _  # noqa: F401 - the lab needs libvirt here

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

MIB = 1 << 20
ROOT = Path(__file__).parents[2]
OFF, ON = "hv1-vm2", "hv1-vm1"
