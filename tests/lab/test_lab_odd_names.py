"""Files may be called anything; a pool with such a file is a pool like others."""

from __future__ import annotations

import pytest

from lab.fleet import Lab
from lab.host import LabHost
from lab.watching import watching
from virtfleet.model import HostState

pytestmark = pytest.mark.lab


async def test_a_volume_whose_name_is_not_utf8_costs_nothing_else(lab: Lab, host: LabHost) -> None:
    odd = "/srv/local/$(printf 'odd\\377.img')"
    try:
        async with watching(lab, volumes_interval=2.0) as watched:
            before = len(watched.host("hv1").volumes)
            host.exec(["sh", "-c", f'touch "{odd}" /srv/local/zz.img'])
            host.virsh("pool-refresh local")
            await watched.until(
                lambda: any(volume.name == "zz.img" for volume in watched.host("hv1").volumes),
                "the new volume",
            )
            assert len(watched.host("hv1").volumes) >= before
            assert watched.states["hv1"][-1] is HostState.UP
            assert HostState.UNREACHABLE not in watched.states["hv1"]
    finally:
        host.exec(["sh", "-c", f'rm -f "{odd}" /srv/local/zz.img'])
        host.virsh("pool-refresh local")
