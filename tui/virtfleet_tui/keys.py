"""Every key of the console, once: bindings, footer, help and palette are all made from `KEYS`.

A key is a command with a name. What it does is the method `action_<name>` of
the screen (or of the app); whether it applies now is that screen's
`check_action`. Letters for what changes a VM (m s S x ...) come from the table of verbs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from textual.binding import Binding, BindingType

from virtfleet.actions.verbs import VERBS

ANYWHERE = "anywhere"
GRID = "grid"
"""Where a list of objects has the focus."""
OVERVIEW = "overview"
PARTS = "parts"
"""Where a view has several lists."""
DETAIL = "detail"
TEXT = "text"
"""Where XML or other long text is read."""
GUEST = "guest"
"""While a guest's console has the keys."""
CONSOLE = "console"
"""In the view of consoles, when it has not."""
OBJECT = "object"
"""Where an object is selected or open."""
VM = "vm"
"""Where VMs are selected, marked or open: what changes them."""
JOB = "job"
"""Where jobs are listed."""

TITLES = {
    OVERVIEW: "Panels",
    GRID: "Lists",
    OBJECT: "The selected object",
    VM: "The selected or marked VMs",
    JOB: "The selected or marked jobs",
    PARTS: "Parts of the view",
    DETAIL: "Object page",
    TEXT: "XML",
    GUEST: "In a guest's console",
    CONSOLE: "Consoles, after ctrl-]",
    ANYWHERE: "Everywhere",
}
"""Headings of the help, in its order."""


@dataclass(frozen=True, slots=True)
class Key:
    keys: str
    """Textual's names, comma-separated; the first is the one that is shown."""
    action: str
    """Command name; with arguments: `panel('vms')`."""
    title: str
    """One or two words, for the footer and the palette."""
    doc: str
    """What it does, for the help."""
    where: str
    foot: int = 0
    """Place in the footer, small first; 0: not there."""
    bound: bool = True
    """False: the widget that has the focus brings the binding itself."""
    shown: str = ""
    """How the key is written, where Textual's name is not how people call it."""

    @property
    def label(self) -> str:
        return self.shown or _spell(self.keys.split(",")[0])


_SPELLED = {
    "question_mark": "?",
    "colon": ":",
    "slash": "/",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "escape": "esc",
    "asterisk": "*",
    "shift+tab": "shift-tab",
}


def _spell(key: str) -> str:
    return _SPELLED.get(key) or key.replace("ctrl+", "ctrl-")


KEYS: tuple[Key, ...] = (
    # ---- lists
    Key("enter", "open", "open", "Go into the selected object", GRID, foot=10, bound=False),
    Key(
        "space",
        "mark",
        "mark",
        "Mark or unmark it; verbs act on all that is marked",
        GRID,
        foot=20,
        bound=False,
    ),
    Key("asterisk", "mark_all", "mark all", "Mark all that is shown, or clear the marks", GRID, bound=False),
    Key("j,down", "cursor_down", "down", "Down and up, also with the arrows", GRID, bound=False, shown="j k"),
    Key("g,home", "cursor_home", "top", "First and last, also home and end", GRID, bound=False, shown="g G"),
    Key(
        "ctrl+d,pagedown",
        "page_down",
        "page",
        "A page down, a page up",
        GRID,
        bound=False,
        shown="ctrl-d ctrl-u",
    ),
    Key("left,right", "columns_aside", "aside", "Columns that did not fit", GRID, bound=False, shown="← →"),
    Key("slash", "filter", "filter", "Narrow the list as you type: cpu>80 state=running web", GRID, foot=30),
    Key("f", "faults", "faults only", "Show only what is in trouble, or everything again", GRID, foot=40),
    Key(
        "F",
        "faults_first",
        "faults first",
        "What is in trouble at the top of the list, or each in its place",
        GRID,
    ),
    Key("o", "sort", "sort", "Choose what to sort by", GRID, foot=50),
    Key("O", "reverse", "reverse", "Turn the order round", GRID),
    Key("C", "columns", "columns", "Choose, order and size the columns", GRID, foot=70),
    # ---- the selected object
    Key("y", "xml", "XML", "Show its XML as the host has it", OBJECT, foot=60),
    Key("e", "events", "its events", "What happened to it", OBJECT, foot=80),
    Key("R", "reconnect", "reconnect", "Connect its host anew, also one that was refused", OBJECT, foot=65),
    Key(
        "w", "placement", "why here", "On which hosts it could be, and why not on the others", OBJECT, foot=85
    ),
    # ---- what changes VMs
    Key("x", "verbs", "actions", "All that can be done to the selected or marked VMs", VM, foot=25),
    *(
        Key(verb.key, f"verb('{verb.name}')", verb.title.lower(), verb.doc, VM, foot=verb.foot)
        for verb in VERBS
        if verb.key
    ),
    Key("ctrl+n", "create", "new VM", "Create VMs: a form, with the plan beside it", GRID),
    # ---- jobs
    Key(
        "K",
        "cancel_job",
        "cancel",
        "Stop it, or all that are marked; what they did is taken back",
        JOB,
        foot=20,
    ),
    Key("U", "resume_job", "resume", "Go on with an interrupted or broken job", JOB, foot=21),
    Key("B", "roll_back_job", "roll back", "Take back what an interrupted or broken job did", JOB, foot=22),
    Key(
        "Z",
        "undo_job",
        "undo",
        "Take back a job that is done, as a new job: rename, resize, tags ...",
        JOB,
        foot=24,
    ),
    Key("L", "job_log", "log", "What it did, step by step", JOB, foot=23),
    # ---- overview
    Key("tab", "next_panel", "next panel", "Go to the next panel", OVERVIEW, foot=35),
    Key("shift+tab", "previous_panel", "previous panel", "Go to the panel before", OVERVIEW),
    Key("z", "zoom", "zoom", "This panel alone on the screen, or all of them again", OVERVIEW, foot=45),
    # ---- a view with parts, an object's page
    Key("tab", "app.focus_next", "next part", "Go to the next part of the view", PARTS, foot=35),
    Key("shift+tab", "app.focus_previous", "previous part", "Go to the part before", PARTS),
    Key("tab", "app.focus_next", "next part", "Go to the next part of the page", DETAIL, foot=35),
    Key("shift+tab", "app.focus_previous", "previous part", "Go to the part before", DETAIL),
    # ---- consoles of guests
    Key(
        "ctrl+right_square_bracket",
        "release",
        "keys back from the guest",
        "Keys are the console's own again; all others go to the guest",
        GUEST,
        foot=10,
        bound=False,
        shown="ctrl-]",
    ),
    Key(
        "shift+pageup",
        "scroll_back",
        "scroll back",
        "What has scrolled away, and shift-pagedown forward",
        GUEST,
        foot=20,
        bound=False,
        shown="shift-pageup",
    ),
    Key("enter,i", "to_guest", "to the guest", "Keys go to the guest; connect again", CONSOLE, foot=10),
    Key("tab", "next_console", "next", "The next console that is open", CONSOLE, foot=20),
    Key("shift+tab", "previous_console", "previous", "The console before", CONSOLE),
    Key("T", "take_over", "take over", "Take it from whoever has it open", CONSOLE, foot=12),
    Key("x", "close_console", "close", "Close it, so that others can have it", CONSOLE, foot=25),
    Key("w", "size_guest", "stty", "Type into its shell how large this screen is", CONSOLE, foot=30),
    Key(
        "pageup,shift+pageup,ctrl+u",
        "scroll_guest(1)",
        "scroll",
        "What has scrolled away",
        CONSOLE,
        shown="pageup",
    ),
    Key(
        "pagedown,shift+pagedown,ctrl+d",
        "scroll_guest(-1)",
        "scroll forward",
        "Forward again",
        CONSOLE,
        shown="pagedown",
    ),
    Key(
        "ctrl+right_square_bracket",
        "back",
        "back",
        "Back to the fleet; it stays open",
        CONSOLE,
        shown="ctrl-]",
    ),
    # ---- text
    Key("slash", "search", "search", "Find in the text", TEXT, foot=30),
    Key("n", "next_match", "next", "Next match", TEXT, foot=40),
    Key("N", "previous_match", "previous", "Match before", TEXT, foot=41),
    Key("j,down", "scroll_down", "down", "Down and up, also with the arrows", TEXT, bound=False, shown="j k"),
    Key("g,home", "scroll_home", "top", "Start and end, also home and end", TEXT, bound=False, shown="g G"),
    # ---- everywhere
    Key("escape", "back", "back", "One step back; never changes anything", ANYWHERE, foot=15),
    Key("colon", "command", "command", "Go to a view or give a command: vms cpu>80", ANYWHERE, foot=90),
    Key("question_mark", "help", "help", "The keys that apply here", ANYWHERE, foot=95),
    Key("ctrl+p", "command_palette", "palette", "Find a command by its name", ANYWHERE),
    Key("left_square_bracket", "backward", "view before", "Back in the history of views", ANYWHERE),
    Key("right_square_bracket", "forward", "view after", "Forward in the history of views", ANYWHERE),
    Key("1", "view('hosts')", "hosts", "Hosts", ANYWHERE),
    Key("2", "view('vms')", "VMs", "VMs", ANYWHERE),
    Key("3", "view('pools')", "pools", "Pools", ANYWHERE),
    Key("4", "view('volumes')", "volumes", "Volumes", ANYWHERE),
    Key("5", "view('networks')", "networks", "Networks", ANYWHERE),
    Key("6", "view('events')", "events", "What happened in the fleet", ANYWHERE),
    Key("8", "view('jobs')", "jobs", "What is being changed, and what was", ANYWHERE),
    Key("7", "view('alerts')", "alerts", "What is wrong now, and what to try", ANYWHERE),
    Key("9", "view('capacity')", "capacity", "How many more VMs fit, now and if a host dies", ANYWHERE),
    Key("0", "view('projects')", "projects", "Projects and their quotas; :groups for groups", ANYWHERE),
    Key("q", "leave", "leave", "Back, and from the overview out of the console", ANYWHERE),
    Key("ctrl+z", "app.suspend_process", "suspend", "Back to the shell for a while; fg returns", ANYWHERE),
    Key("ctrl+q", "app.quit", "quit", "Leave the console at once, also with ctrl-c", ANYWHERE),
)


def bindings(*contexts: str) -> list[BindingType]:
    """Textual's bindings for a screen where these contexts apply."""
    return [
        Binding(key.keys, key.action, key.title, show=False)
        for key in KEYS
        if key.bound and key.where in contexts
    ]


def keys_for(contexts: Iterable[str]) -> Iterator[Key]:
    """All keys of these contexts, in the order of the table."""
    wanted = set(contexts)
    return (key for key in KEYS if key.where in wanted)


def footer(keys: Iterable[Key]) -> list[Key]:
    """Those that the footer shows, in its order."""
    return sorted((key for key in keys if key.foot), key=lambda key: key.foot)
