"""The form for new VMs, with the plan beside it: each change of the form plans anew, and nothing is done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.suggester import SuggestFromList
from textual.timer import Timer
from textual.widgets import Button, Input, Static

from virtfleet.actions.create import expand
from virtfleet.config.settings import FleetSettings
from virtfleet.errors import VirtfleetError
from virtfleet.headless.vm_create import file_ref, public_keys
from virtfleet.model import FleetSnapshot
from virtfleet.model.action import Action, CreateVm, Seed
from virtfleet.model.plan import Plan
from virtfleet.query.units import parse_size
from virtfleet_tui.dialogs.base import Dialog
from virtfleet_tui.dialogs.plan import plan_lines, title_line
from virtfleet_tui.styles.themes import say
from virtfleet_tui.widgets.hanging import Hanging, Line
from virtfleet_tui.widgets.tick import Tick

_PLAN_AFTER = 0.3
_MOST = 100
_LINES = (
    ("name", "Name", "web-01, or web-%02d for several"),
    ("count", "How many", "1"),
    ("image", "Image", "name, file, URL, POOL/VOLUME"),
    ("iso", "or installer", "ISO file, URL, POOL/VOLUME"),
    ("flavor", "Flavor", "or the figures below"),
    ("vcpus", "vCPUs", "1"),
    ("memory", "Memory", "1GiB"),
    ("disk", "Disk", "the image's own size"),
    ("host", "Host", "the best that fits"),
    ("pool", "Pool", "with most room"),
    ("network", "Network", "default, or bridge:NAME"),
    ("ssh_key", "SSH key", "file of a public key"),
    ("user_data", "User data", "file for cloud-init"),
    ("tags", "Tags", "with spaces between"),
    ("project", "Project", "none"),
)


class Fleet(Protocol):
    @property
    def snapshot(self) -> FleetSnapshot: ...
    @property
    def settings(self) -> FleetSettings: ...
    async def plan_all(self, actions: Sequence[Action]) -> tuple[list[Plan], list[VirtfleetError]]: ...


class CreateDialog(Dialog[list[tuple[str, Action]]]):
    """Answers with the actions, one for each VM, by their names."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+o", "explain", "which host", show=False)]

    def __init__(self, fleet: Fleet, explain: Callable[[CreateVm], None] | None = None) -> None:
        """`explain`: shows which hosts could have a VM, and why not the others."""
        super().__init__()
        self._fleet = fleet
        self._explain = explain
        self._later: Timer | None = None
        self._turn = 0

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog create") as box:
            box.border_title = say("New VMs")
            box.border_subtitle = say("tab goes on, ctrl-o which host and why, esc leaves")
            with Horizontal(id="create-body"):
                with VerticalScroll(id="create-form", can_focus=False):
                    for name, title, doc in _LINES:
                        with Horizontal(classes="form-line"):
                            yield Static(say(title), markup=False, classes="form-title")
                            choices = self._choices(name)
                            yield Input(
                                placeholder=doc,
                                id=f"create-{name}",
                                compact=True,
                                suggester=SuggestFromList(choices, case_sensitive=False) if choices else None,
                            )
                    with Horizontal(classes="form-line"):
                        yield Static(say("Start"), markup=False, classes="form-title")
                        yield Tick(say("start it"), value=True, id="create-start", compact=True)
                with VerticalScroll(id="create-plan", can_focus=False):
                    wait = say(("The plan stands here as soon as there is a name.", "muted"))
                    yield Hanging([Line(say(""), wait)], id="create-text")
            with Horizontal(classes="buttons"):
                yield Button("Create", id="create-do", compact=True, disabled=True)
                yield Button("Leave it", id="create-leave", compact=True)
                yield Button("Which host", id="create-where", compact=True)

    def on_mount(self) -> None:
        for title in self.query(".form-title"):
            title.styles.width = 14
        self.query_one("#create-name", Input).focus()

    def _choices(self, name: str) -> list[str]:
        settings, hosts = self._fleet.settings, self._fleet.snapshot.hosts.values()
        found: dict[str, list[str]] = {
            "image": list(settings.images),
            "flavor": list(settings.flavors),
            "project": list(settings.projects),
            "host": [host.name for host in hosts],
            "pool": sorted({pool.name for host in hosts for pool in host.pools}),
            "network": sorted({network.name for host in hosts for network in host.networks}),
        }
        return found.get(name, [])

    def _value(self, name: str) -> str:
        return self.query_one(f"#create-{name}", Input).value.strip()

    def _values(self) -> dict[str, str]:
        found = {name: self._value(name) for name, _, _ in _LINES}
        return found | {"start": "yes" if self.query_one("#create-start", Tick).value else ""}

    @classmethod
    def _actions(cls, values: dict[str, str]) -> list[CreateVm]:
        """What the form says. ValueError, VirtfleetError: it makes no sense. Reads the files it names."""
        value = values.__getitem__
        count = int(value("count") or 1)
        if not 1 <= count <= _MOST:
            raise ValueError(f"how many: 1 to {_MOST}")
        if not value("image") and not value("iso"):
            raise ValueError("an image, or an installer")
        return expand(cls._action(values), count)

    @staticmethod
    def _action(values: dict[str, str]) -> CreateVm:
        """One of them, perhaps without an image. ValueError, VirtfleetError as `_actions`."""
        value = values.__getitem__
        given: dict[str, Any] = {
            "vcpus": int(value("vcpus")) if value("vcpus") else None,
            "memory": parse_size(value("memory")) if value("memory") else None,
            "disk": parse_size(value("disk")) if value("disk") else None,
        }
        seed = None
        if value("ssh_key") or value("user_data"):
            seed = Seed(
                ssh_keys=tuple(public_keys(value("ssh_key"))) if value("ssh_key") else (),
                user_data=file_ref(value("user_data") or None),
            )
        return CreateVm(
            name=value("name"),
            image=value("image"),
            iso=value("iso"),
            flavor=value("flavor"),
            host=value("host"),
            pool=value("pool"),
            networks=tuple(value("network").split()),
            tags=tuple(value("tags").replace(",", " ").split()),
            project=value("project"),
            seed=seed,
            start=bool(value("start")),
            **given,
        )

    @on(Input.Changed)
    @on(Tick.Changed)
    def _changed(self) -> None:
        self._turn += 1
        self.query_one("#create-do", Button).disabled = True
        if self._later is not None:
            self._later.stop()
        self._later = self.set_timer(_PLAN_AFTER, self._plan_soon)

    def _plan_soon(self) -> None:
        self._later = None
        if self._value("name"):
            self.run_worker(self._plan(self._turn), exclusive=True, exit_on_error=False)

    async def _plan(self, turn: int) -> None:
        try:
            actions = await asyncio.to_thread(self._actions, self._values())
            made, errors = await self._fleet.plan_all(actions)
            if errors:
                raise errors[0]
        except VirtfleetError as error:
            self._show(turn, _wrong(error.message, error.cure), ready=False)
        except (ValueError, OSError) as error:
            self._show(turn, _wrong(str(error)), ready=False)
        else:
            self._show(turn, _lines(made), ready=True)

    def _show(self, turn: int, lines: list[Line], *, ready: bool) -> None:
        if turn == self._turn:
            self.query_one("#create-text", Hanging).show(lines)
            self.query_one("#create-do", Button).disabled = not ready

    @on(Input.Submitted)
    def _entered(self) -> None:
        self.focus_next()

    @on(Button.Pressed, "#create-do")
    def _do(self) -> None:
        try:
            found = self._actions(self._values())
        except (VirtfleetError, ValueError, OSError):
            return
        self.dismiss([(action.name, action) for action in found])

    @on(Button.Pressed, "#create-where")
    def action_explain(self) -> None:
        """Which hosts could have what the form describes now."""
        if self._explain is None:
            return
        try:
            action = self._action(self._values())
        except (VirtfleetError, ValueError, OSError) as error:
            self._show(self._turn, _wrong(str(error)), ready=False)
        else:
            self._explain(action)

    @on(Button.Pressed, "#create-leave")
    def _leave(self) -> None:
        self.dismiss(None)


def _lines(made: Sequence[Plan]) -> list[Line]:
    """The first in full: the others differ in the name alone."""
    lines: list[Line] = []
    for plan in made:
        lines.append(title_line(plan))
        if plan is made[0]:
            lines += [line for _, line in plan_lines(plan)]
    return lines


def _wrong(text: str, cure: str = "") -> list[Line]:
    lines = [Line(say(""), say((text, "warning")))]
    return [*lines, Line(say(""), say("")), Line(say(""), say((cure, "muted")))] if cure else lines
