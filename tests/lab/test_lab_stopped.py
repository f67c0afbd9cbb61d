"""The console stopped with Ctrl-Z for a minute and continued, over real hypervisors."""

from __future__ import annotations

import pytest

from lab.fleet import Lab
from tui.watched_console import watched_console

pytestmark = pytest.mark.lab


@pytest.mark.timeout(240)
def test_after_a_minute_in_the_background_all_is_as_before(lab: Lab) -> None:
    with watched_console(lab.fleet_file) as watched:
        watched.until_fresh(6.0)
        watched.stop(60.0)
        told = watched.until_fresh(6.0)
        assert set(told.were) <= {"connecting", "up", "slow"}, told
