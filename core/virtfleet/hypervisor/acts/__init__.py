"""What changes a host, by name: the operations that the steps of a plan are made of.

Each is idempotent, or looks before it repeats (`Call.again`): a job that was
killed between journal and deed runs its step again. Each verifies that it
acts on what it was told of, since the plan may be minutes old. NotFoundError,
RefusedError, AmbiguousError and UnsupportedError mean that it had not acted.
"""

from __future__ import annotations

from collections.abc import Mapping

from virtfleet.hypervisor.acts import (
    arrive,
    build,
    console,
    containers,
    define,
    devices,
    display,
    home,
    hostfile,
    image,
    metadata,
    migrate,
    pool_contents,
    pool_secrets,
    pools,
    power,
    ready,
    seed,
    snapshots,
    volume_bytes,
    volume_disks,
    volume_fetch,
    volume_verbs,
    volumes,
)
from virtfleet.hypervisor.call import Operation

_MODULES = (
    power,
    metadata,
    define,
    snapshots,
    devices,
    build,
    volumes,
    image,
    seed,
    ready,
    containers,
    console,
    display,
    hostfile,
    home,
    migrate,
    arrive,
    volume_verbs,
    volume_bytes,
    volume_fetch,
    volume_disks,
    pools,
    pool_secrets,
    pool_contents,
)

ACTS: Mapping[str, Operation] = {name: act for module in _MODULES for name, act in module.ACTS.items()}
