"""cloud-init's NoCloud disk: an ISO labelled `cidata` with meta-data, user-data and network-config.

Format: cloud-init's documentation of the NoCloud data source.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import pycdlib
import yaml

_USER_DATA = "#cloud-config\n"


def build(
    *,
    instance_id: str,
    hostname: str,
    ssh_keys: Sequence[str],
    user: str,
    user_data: bytes,
    network_config: bytes,
) -> bytes:
    """The disk. Keys go to meta-data, which every user-data leaves alone, and to the image's own user."""
    meta: dict[str, Any] = {"instance-id": instance_id, "local-hostname": hostname}
    if ssh_keys:
        meta["public-keys"] = list(ssh_keys)
    files = {
        "meta-data": yaml.safe_dump(meta, sort_keys=False, allow_unicode=True).encode(),
        "user-data": user_data or _default_user_data(ssh_keys, user),
    }
    if network_config:
        files["network-config"] = network_config
    return _iso(files)


def _default_user_data(ssh_keys: Sequence[str], user: str) -> bytes:
    config: dict[str, Any] = {"ssh_authorized_keys": list(ssh_keys)} if ssh_keys else {}
    if user:
        config["system_info"] = {"default_user": {"name": user}}
    return (_USER_DATA + (yaml.safe_dump(config, sort_keys=False) if config else "")).encode()


def _iso(files: Mapping[str, bytes]) -> bytes:
    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident="cidata")
    try:
        for number, (name, data) in enumerate(files.items()):
            iso.add_fp(io.BytesIO(data), len(data), f"/FILE{number}.;1", rr_name=name, joliet_path=f"/{name}")
        out = io.BytesIO()
        iso.write_fp(out)
        return out.getvalue()
    finally:
        iso.close()
