"""Placement explained: hosts × filters as a grid, the winner first, and the case of one host in words.

Where there is room each filter has a column; else all have one cell each in
one column, in the order in which the foot names them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from textual import events

from virtfleet.query.field import Field, Unit
from virtfleet.query.placement import CASES, CaseRow, case_look
from virtfleet_tui.console import Console, Subject
from virtfleet_tui.panels.decided import DecidedPanel, decided
from virtfleet_tui.panels.foot import Words, line
from virtfleet_tui.widgets.grid import Cell
from virtfleet_tui.widgets.grid_render import GAP, GUTTER
from virtfleet_tui.widgets.hanging import Line

if TYPE_CHECKING:
    from virtfleet.decide.explain import Explanation, HostCase

PASSES, REFUSES = "✔", "✖"
_TOGETHER = "filters"
_LEAD = ("host", "state", "score")
_LEAST_TEXT = 24
"""Cells that the reasons have at least, else filters have no columns of their own."""
_LEAST_MATRIX = 7


def _field_of(name: str) -> str:
    """The word for a filter's column: `vcpus_ok`."""
    return f"{name.replace('-', '_')}_ok"


def _passes(name: str) -> Callable[[CaseRow], bool]:
    return lambda row: name not in row.refused_by


def _mark(name: str) -> Callable[[CaseRow], str]:
    return lambda row: REFUSES if name in row.refused_by else PASSES


def _columns(filters: Sequence[tuple[str, str]]) -> tuple[Field[Any], ...]:
    fields = {field.name: field for field in CASES.fields}
    matrix = [
        Field(
            _field_of(name),
            name.upper(),
            Unit.BOOL,
            f"Filter {name}: {doc}",
            _passes(name),
            glance=_mark(name),
            width=len(name),
            priority=9,
        )
        for name, doc in filters
    ]
    together: Field[Any] = Field(
        _TOGETHER,
        "FILTERS",
        Unit.TEXT,
        "Each filter that was asked, in the order told below: passes or refuses.",
        lambda row: None,
        width=_LEAST_MATRIX,
        priority=9,
    )
    state = replace(fields["state"], sort_key=lambda row: 100 * case_look(row).urgency + len(row.refused_by))
    score = replace(fields["score"], width=6)
    rest = [
        replace(field, priority=9)
        for field in CASES.fields
        if field.name not in (*_LEAD, "weights", "reasons")
    ]
    why = replace(fields["reasons"], title="WHY NOT, OR WEIGHTS", glance=_why, width=30, priority=1)
    return (
        fields["host"],
        state,
        score,
        together,
        *matrix,
        *rest,
        replace(fields["weights"], priority=9),
        why,
    )


def _why(row: CaseRow) -> str:
    return "; ".join(row.reasons) if row.reasons else "  ".join(row.weights)


def _style(row: CaseRow, field: Field[Any]) -> str:
    if field.name == "state":
        return case_look(row).meaning.value
    if field.name.endswith("_ok"):
        return "good" if field.get(row) else "bad"
    if field.name == "reasons":
        return "" if row.reasons else "muted"
    return ""


class CasePanel(DecidedPanel):
    """Hosts for a VM. `explain` gives the answer to the question that it is about."""

    def __init__(
        self,
        console: Console,
        title: str,
        explain: Callable[[], Awaitable[Explanation]],
        here: str = "",
        *,
        filter_text: str = "",
        id: str | None = None,
    ) -> None:
        """`here`: the host on which the VM is."""
        from virtfleet.decide.filters import FILTERS

        columns = _columns([(each.name, each.doc) for each in FILTERS])
        noun = replace(
            CASES,
            title=title,
            fields=tuple(field for field in columns if field.name != _TOGETHER),
            default_sort=("state", "-score", "host"),
        )
        listed = decided(
            noun,
            columns,
            lambda row: not row.fits,
            "No hosts",
            "state=fits  refused_by:memory  vcpus_ok=no  host~^hv1  words",
            _style,
            {_TOGETHER: self._marks, "host": self._host},
        )
        self.explanation: Explanation | None = None
        self.here = here
        super().__init__(console, listed, self._answer, filter_text=filter_text, id=id)
        self._explain = explain

    async def _answer(self) -> Sequence[CaseRow]:
        from virtfleet.decide.report import cases

        self.explanation = await self._explain()
        self._choose_columns()
        return cases(self.explanation)

    @property
    def asked(self) -> tuple[str, ...]:
        """The filters that the question concerns."""
        return self.explanation.filters if self.explanation is not None else ()

    def _marks(self, row: CaseRow, width: int) -> Cell:
        return [_sign(name in row.refused_by) for name in self.asked] or [("", "")]

    def _host(self, row: CaseRow, width: int) -> Cell:
        return [(row.host, ""), (" here" if row.host == self.here else "", "accent")]

    def on_resize(self, _event: events.Resize) -> None:
        self._choose_columns()

    def _choose_columns(self) -> None:
        """As many columns for filters as there is room for; what the operator chose stays."""
        if self.console.taste.of(self.noun.kind).columns or not self.asked:
            return
        lead = GUTTER + sum(max(f.width, len(f.title)) + GAP for f in self.noun.fields if f.name in _LEAD)
        matrix = sum(len(name) + GAP for name in self.asked)
        if lead + matrix + _LEAST_TEXT < self.content_size.width:
            filters = [_field_of(name) for name in self.asked]
        else:
            filters = [_TOGETHER]
            self.grid.size_column(_TOGETHER, max(_LEAST_MATRIX, len(self.asked)))
        self.grid.choose_columns((*_LEAD, *filters, "reasons"))

    def remarks(self) -> list[tuple[str, str]]:
        found = self.explanation
        if found is None or self.problem:
            return super().remarks()
        if not found.winner:
            return [("  no valid host", "bad")]
        fit = sum(not each.refusals for each in found.cases)
        return [(f"  {fit} fit, best {found.winner}", "good")]

    def subject_of(self, row: Any) -> Subject | None:
        return Subject("host", row.host, row.host, row.host)

    def case(self) -> HostCase | None:
        """Of the selected host."""
        row = self.grid.selected
        if row is None or self.explanation is None:
            return None
        return next((each for each in self.explanation.cases if each.host == row.host), None)


def _sign(refused: bool) -> tuple[str, str]:
    return (REFUSES, "bad") if refused else (PASSES, "good")


def case_foot(case: HostCase, asked: Sequence[str], winner: str) -> list[Line]:
    """A host's case: each filter's word, what refuses it and what would help; or what its score is of."""
    refused = {each.filter: each for each in case.refusals}
    marks: list[Words] = []
    for name in asked:
        marks += [_sign(name in refused), (f" {name}  ", "muted" if name not in refused else "")]
    if refused:
        head = line(
            f"{REFUSES} ",
            (case.host, "bold"),
            (f"  refused by {len(refused)} of {len(asked)} filters", "bad"),
            meaning="bad",
        )
        lines = [head, line("  ", *marks)]
        for each in case.refusals:
            lines.append(line(f"  {REFUSES} ", (f"{each.filter}: ", "bold"), (each.why, ""), meaning="bad"))
            if each.mend:
                lines.append(line("    ", ("try: ", "muted"), (each.mend, "")))
        return lines
    best = case.host == winner
    score = "" if case.score is None else f", score {case.score:.2f}"
    head = line(
        "● " if best else "○ ",
        (case.host, "bold"),
        (f"  {'chosen' if best else 'fits'}{score}", "good" if best else ""),
        meaning="good" if best else "muted",
    )
    weights = [(f"{name} {value or 0.0:+.2f}  ", "" if value else "muted") for name, value in case.weights]
    return [head, line("  ", *marks), line("  ", ("weights: ", "muted"), *weights)]
