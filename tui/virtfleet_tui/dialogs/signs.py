"""What glyphs, bars and colours mean, for each kind of thing that a view shows: a part of the help.

Glyphs and colours of states come from the table that draws them, so that the
help can't say anything else than the screen.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from virtfleet.model.job import JobState
from virtfleet.query.jobs import LOOKS
from virtfleet.query.looks import glyph
from virtfleet_tui.widgets.glyphs import glyphs

_Sign = tuple[str, str, str]
"""(what is seen, its colour's meaning, what it means)"""

_STATES: dict[str, tuple[str, tuple[tuple[str, str], ...]]] = {
    "host": (
        "States of hosts",
        (
            ("up", "answers"),
            ("slow", "answers, but late: its calls take long"),
            ("connecting", "no answer yet, none overdue"),
            ("asking", "waits for your answer: an unknown host key, a password"),
            ("hung", "can be reached, but libvirtd does not answer"),
            ("unreachable", "no connection; tried again by itself"),
            ("refused", "key, password or permission; tried again only when you say so (R)"),
            ("disabled", "left out by the fleet file"),
        ),
    ),
    "vm": (
        "States of VMs",
        (
            ("running", "runs"),
            ("paused", "stands still; in red with a reason: nobody asked for it"),
            ("shutting-down", "on its way down, or being saved"),
            ("pmsuspended", "sleeps: its own doing"),
            ("shutoff", "off"),
            ("crashed", "crashed"),
        ),
    ),
    "pool": (
        "States of pools",
        (
            ("running", "active"),
            ("building", "is being made"),
            ("degraded", "works, but lost a part"),
            ("inaccessible", "can't be read"),
            ("inactive", "off"),
        ),
    ),
    "network": ("States of networks", (("active", "on"), ("inactive", "off"))),
    "event": (
        "How bad it is",
        (("error", "something failed"), ("warning", "look at it"), ("info", "in the course of things")),
    ),
}
_JOBS: tuple[_Sign, ...] = tuple(
    (f"{look.glyph} {look.word}", look.meaning.value, meaning)
    for look, meaning in (
        (LOOKS[JobState.WAITING], "for its turn: so many at once on a host, into a pool"),
        (LOOKS[JobState.RUNNING], "under way; percent of its steps, or of the bytes that it moves"),
        (LOOKS[JobState.CANCELLING], "somebody cancelled it; it stops as soon as it can"),
        (LOOKS[JobState.UNDOING], "it failed or was cancelled: what it did is taken back"),
        (LOOKS[JobState.DONE], "all of it"),
        (LOOKS[JobState.CANCELLED], "and what it had done is taken back"),
        (LOOKS[JobState.FAILED], "and what it had done is taken back"),
        (LOOKS[JobState.BROKEN], "failed, and not all could be taken back: U goes on, B takes back"),
        (LOOKS[JobState.INTERRUPTED], "its console is gone: U goes on with it, B takes back what it did"),
    )
)

_PLANS: tuple[_Sign, ...] = (
    ("+ − ~", "", "makes an object; deletes one; changes one"),
    ("=", "muted", "nothing to do: it is so already"),
    ("✖", "bad", "can't be done, and why"),
    ("1 2 3", "muted", "its steps, in their order"),
    ("!", "warning", "mind this before you say yes"),
    ("·", "muted", "why it is done so"),
    ("→", "muted", "what it changes: before → after"),
)

_STATES["alert"] = ("How bad it is", _STATES["event"][1][:2])

_MORE: dict[str, tuple[_Sign, ...]] = {
    "vm": (
        ("✖ monitor stuck", "bad", "its QEMU does not answer, though its host does"),
        ("⇄ migrating", "busy", "is moving to another host"),
    ),
    "pool": (
        ("! name", "warning", "nearly full, or wrong on one of its hosts"),
        ("✖ name", "bad", "full, or not to be used"),
    ),
}

_DECIDED: dict[str, tuple[str, tuple[_Sign, ...]]] = {
    "project": (
        "Projects",
        (
            ("● within", "good", "uses no more than it may"),
            ("! over", "warning", "uses more than it may, in what is red; nothing new is made for it"),
            ("310/512", "", "used, and the limit; yellow from 90 %; one figure: no limit"),
        ),
    ),
    "group": (
        "Groups",
        (
            ("● kept", "good", "its VMs are where its rule wants them"),
            ("✖ broken", "bad", "they are not; that is an alert"),
            ("! not met", "warning", "they are not, but it is only a wish (soft-)"),
            ("○ unknown", "muted", "VMs name it, the fleet file does not: no rule"),
        ),
    ),
    "capacity": (
        "Room",
        (
            ("a figure", "", "how many more VMs of that flavor fit there now, each flavor for itself"),
            ("fleet", "accent", "all hosts; a storage that several share counts once"),
            ("N+1", "accent", "so many more, and whichever host then dies, its VMs find a place"),
            ("● borne", "good", "if it died its VMs would find places on other hosts"),
            ("✖ 3 VMs", "bad", "if it died so many would not; the list below names them"),
        ),
    ),
    "case": (
        "Placement",
        (
            ("● chosen", "good", "the best: the highest score"),
            ("○ fits", "muted", "passes all filters; the score is the sum of its weights"),
            ("✖ refused", "bad", "at least one filter refuses it; the nearest to fitting first"),
            ("✔ ✖", "", "a filter lets it through, or not; the names stand below, with what would help"),
            ("here", "accent", "where the VM is; its own use does not count there"),
        ),
    ),
}

_PLOTS: tuple[_Sign, ...] = (
    ("━━ ╍╍", "accent", "the lines of a plot, in the order of its title"),
    ("now —", "muted", "no sample lately: the line ends where they ended"),
)

_XML: tuple[_Sign, ...] = (
    ("<disk type=", "busy", "elements and attributes"),
    ("'file'", "good", "their values and texts"),
    ("<!-- -->", "muted", "a comment"),
    ("yellow ground", "warning", "what was searched for; the full yellow is where you are"),
)

_COLOURS: tuple[_Sign, ...] = (
    ("green", "good", "well"),
    ("blue", "busy", "on its way"),
    ("yellow", "warning", "look at it"),
    ("red", "bad", "failed"),
    ("grey", "muted", "off, unknown, of no concern"),
)


def signs_of(kinds: Sequence[str]) -> list[tuple[str, list[_Sign]]]:
    """Headings and signs for a view that shows these: kinds of objects, "plot" and "xml"."""
    found: list[tuple[str, list[_Sign]]] = []
    for kind in kinds:
        if kind in _STATES:
            title, states = _STATES[kind]
            found.append((title, [*_looks(states), *_MORE.get(kind, ())]))
        elif kind in _DECIDED:
            title, signs = _DECIDED[kind]
            found.append((title, list(signs)))
    if any(kind not in ("plot", "xml") for kind in kinds):
        found.append(("Lists", _lists()))
    if "job" in kinds:
        found.append(("States of jobs", list(_JOBS)))
    if not {"job", "vm"}.isdisjoint(kinds):
        found.append(("Plans", list(_PLANS)))
    if "plot" in kinds:
        found.append(("Plots", list(_PLOTS)))
    if "xml" in kinds:
        found.append(("XML", list(_XML)))
    else:
        found.append(("Colours; none of them is the only sign of anything", list(_COLOURS)))
    return found


def _lists() -> list[_Sign]:
    signs = glyphs()
    levels, full = signs.levels, signs.eighths[-1]
    return [
        (signs.cursor, "", "the selected line"),
        (signs.mark, "", "marked: verbs act on all that is marked"),
        (levels[1] + levels[3] + levels[-1], "accent", "the last samples; yellow from 85 %, red from 95 %"),
        (full * 3 + signs.track * 2, "accent", "how much of it is used"),
        (signs.gap * 3, "muted", "no sample for that time"),
        ("—", "muted", "the hypervisor does not tell"),
        ("dim, 14s", "muted", "old: last heard of 14 seconds ago, it may have changed"),
        ("lit cell", "", "it has just changed"),
        (f"NAME{signs.ascending} CPU{signs.descending}", "", "sorted by it, smallest or largest first"),
    ]


def _looks(states: Iterable[tuple[str, str]]) -> list[_Sign]:
    return [(glyph(word).text, glyph(word).meaning.value, meaning) for word, meaning in states]
