"""The `:` line: what can be typed, what it means, how it is completed. Pure; the screens carry it out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from virtfleet.errors import QueryError


@dataclass(frozen=True, slots=True)
class Verb:
    """One word of the `:` line."""

    name: str
    aliases: tuple[str, ...]
    argument: str
    """What may follow, for the help: "" if nothing, "[FILTER]", "NAME"."""
    doc: str
    completes: str = ""
    """Which words may follow: a key of the mapping given to `complete`."""

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, *self.aliases)


def _view(name: str, *aliases: str) -> Verb:
    title = "VMs" if name == "vms" else name
    return Verb(name, aliases, "[FILTER]", f"All {title}, or those that match", name)


VIEWS = (
    *("overview", "hosts", "vms", "pools", "volumes", "networks", "events", "alerts", "jobs"),
    *("capacity", "projects", "groups"),
)

VERBS: tuple[Verb, ...] = (
    Verb("overview", ("home",), "", "Hosts, VMs and pools on one screen"),
    _view("hosts", "host", "hv"),
    _view("vms", "vm", "domains"),
    _view("pools", "pool", "storage"),
    _view("volumes", "volume", "vol", "disks"),
    _view("networks", "network", "net"),
    Verb("events", ("event", "log"), "[FILTER]", "What happened in the fleet", "events"),
    Verb("alerts", ("alert", "troubles"), "[FILTER]", "What is wrong now, and what to try", "alerts"),
    _view("jobs", "job", "tasks"),
    Verb(
        "capacity",
        ("room",),
        "[FILTER]",
        "How many more VMs of each flavor fit, now and if any one host dies",
        "capacity",
    ),
    Verb("projects", ("project", "quotas"), "[FILTER]", "Projects: used and limit", "projects"),
    Verb("groups", ("group",), "[FILTER]", "Groups: their rules, and which are broken", "groups"),
    Verb(
        "placement",
        ("why",),
        "[VM]",
        "On which hosts a VM could be, which is best, and why not the others",
        "vm-names",
    ),
    Verb(
        "do",
        ("vm-do",),
        "VERB",
        "Do this to the selected or marked VMs: start, shutdown, resize ...",
        "verbs",
    ),
    Verb("create", ("new",), "", "Create VMs"),
    Verb("sort", (), "FIELD", "Sort this list; -FIELD for the largest first", "fields"),
    Verb("columns", ("cols",), "[FIELD...]", "Show these columns, or choose them in a dialog", "fields"),
    Verb("filter", (), "[FILTER]", "Narrow this list; without a filter: show all", "filter"),
    Verb(
        "faults",
        (),
        "[first]",
        "Show only what is in trouble, or everything again; first: at the top of the list",
        "faults",
    ),
    Verb("zoom", (), "", "This panel alone on the screen, or all of them again"),
    Verb("xml", (), "", "XML of the selected object"),
    Verb("console", ("tty",), "[VM]", "The serial console of a VM, or those that are open", "vm-names"),
    Verb("reconnect", (), "[HOST]", "Connect a host anew", "names"),
    Verb("theme", ("skin",), "NAME", "dark or light", "themes"),
    Verb("help", ("h", "?"), "", "The keys that apply here"),
    Verb("quit", ("q", "q!", "exit"), "", "Leave the console; the fleet goes on"),
)

_BY_NAME = {name: verb for verb in VERBS for name in verb.names}


@dataclass(frozen=True, slots=True)
class Command:
    verb: str
    """Full name of the verb."""
    argument: str = ""


@dataclass(frozen=True, slots=True)
class Words:
    """What completion may offer after a verb, by `Verb.completes`. Called only when needed."""

    sources: Mapping[str, Callable[[], Iterable[str]]] = field(default_factory=dict)

    def __getitem__(self, name: str) -> list[str]:
        source = self.sources.get(name)
        return list(source()) if source else []


def parse(text: str) -> Command | None:
    """The command of a line; None if the line is empty. QueryError names the column of what is wrong."""
    lead = len(text) - len(text.lstrip(" :"))
    word, _, argument = text[lead:].partition(" ")
    argument = argument.strip()
    if not word:
        return None
    verb = _BY_NAME.get(word.lower()) or _unique(word.lower())
    if verb is None:
        near = [name for name in _BY_NAME if name.startswith(word[:1].lower())]
        cure = f"did you mean {', '.join(near[:4])}?" if near else "? shows what there is"
        raise QueryError(f"no command {word!r}: {cure}", text=text, column=lead)
    if argument and not verb.argument:
        raise QueryError(
            f"{verb.name} takes nothing", text=text, column=text.find(argument, lead + len(word))
        )
    if not argument and verb.argument and not verb.argument.startswith("["):
        raise QueryError(f"{verb.name} needs {verb.argument}", text=text, column=len(text))
    return Command(verb.name, argument)


def _unique(prefix: str) -> Verb | None:
    found = {verb.name: verb for verb in VERBS if verb.name.startswith(prefix)}
    return next(iter(found.values())) if len(found) == 1 else None


def complete(text: str, words: Words) -> list[str]:
    """Whole lines that `text` may become, the likeliest first."""
    lead = text[: len(text) - len(text.lstrip(" :"))]
    word, space, argument = text[len(lead) :].partition(" ")
    if not space:
        names = [verb.name for verb in VERBS if verb.name.startswith(word.lower())]
        names = names or [alias for verb in VERBS for alias in verb.aliases if alias.startswith(word.lower())]
        return [lead + name for name in names if name != word]
    verb = _BY_NAME.get(word.lower())
    if verb is None or not verb.completes:
        return []
    head, _, last = argument.rpartition(" ")
    kept = f"{lead}{word} {head} " if head else f"{lead}{word} "
    return [kept + each for each in _starting(words[verb.completes], last) if each != last]


def _starting(candidates: Sequence[str], prefix: str) -> list[str]:
    return [each for each in candidates if each.lower().startswith(prefix.lower())][:50]
