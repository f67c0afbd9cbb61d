"""Says what to install where libvirt's headers are missing, before libvirt-python fails to compile.

pip compiles libvirt-python against the distribution's libvirt. Where the
headers are missing its own message is long and names no package, so the wheel
of virtfleet refuses to build first. It doesn't where libvirt-python is there
already (a distribution's own package), nor with VIRTFLEET_BUILD_ANYWAY set, for
who builds a wheel to install elsewhere.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

EXPLANATION = """\
virtfleet needs libvirt-python, which is compiled on this machine, and libvirt's headers are not here
(`pkg-config --exists libvirt` fails). Install them first:

    Debian, Ubuntu   apt-get install gcc pkg-config libvirt-dev python3-dev
    Fedora           dnf install gcc pkgconf-pkg-config libvirt-devel python3-devel
    Arch             pacman -S gcc pkgconf libvirt
    openSUSE         zypper install gcc pkg-config libvirt-devel python3-devel

To build a wheel for another machine, set VIRTFLEET_BUILD_ANYWAY=1.
"""


def libvirt_is_missing() -> bool:
    """Whether libvirt-python is neither installed nor can be compiled here."""
    return not (_succeeds("pkg-config", "--exists", "libvirt") or _has_bindings())


def _has_bindings() -> bool:
    # -I keeps pip's build environment out and asks the interpreter that virtfleet is installed for.
    find = "import importlib.util, sys; sys.exit(importlib.util.find_spec('libvirt') is None)"
    return _succeeds(sys.executable, "-I", "-c", find)


def _succeeds(*argv: str) -> bool:
    try:
        return subprocess.run(argv, capture_output=True, check=False, timeout=30).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


class LibvirtHeaders(BuildHookInterface[Any]):
    """Run by hatchling before a wheel is built, also for `pip install -e`."""

    PLUGIN_NAME = "libvirt-headers"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Stop the build with the explanation if libvirt is missing."""
        if not os.environ.get("VIRTFLEET_BUILD_ANYWAY") and libvirt_is_missing():
            sys.exit(EXPLANATION)
