"""What a grid tells its host. Used as `Grid.Selected` and so on; `@on(Grid.Opened, "#vms")` works."""

from __future__ import annotations

from typing import Any

from textual.message import Message

from virtfleet_tui.widgets.grid_view import GridView


class GridMessage(Message, namespace="fleet_grid"):
    """Comes from `grid`."""

    def __init__(self, grid: GridView[Any]) -> None:
        super().__init__()
        self.grid = grid

    @property
    def control(self) -> GridView[Any]:
        return self.grid


class Selected(GridMessage, namespace="fleet_grid"):
    """The cursor is on another object than before (`row` None: nothing is shown any more)."""

    def __init__(self, grid: GridView[Any], row: Any | None) -> None:
        super().__init__(grid)
        self.row = row

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, Selected) and message.grid is self.grid


class Opened(GridMessage, namespace="fleet_grid"):
    """Enter or a double click on `row`."""

    def __init__(self, grid: GridView[Any], row: Any) -> None:
        super().__init__(grid)
        self.row = row


class Marked(GridMessage, namespace="fleet_grid"):
    """The set of marks changed; `count` is how many there are, hidden ones included."""

    def __init__(self, grid: GridView[Any], count: int) -> None:
        super().__init__(grid)
        self.count = count


class SortChanged(GridMessage, namespace="fleet_grid"):
    """It is sorted by something else; `sort` as in `Grid.sort`."""

    def __init__(self, grid: GridView[Any], sort: tuple[str, ...]) -> None:
        super().__init__(grid)
        self.sort = sort


class Counted(GridMessage, namespace="fleet_grid"):
    """`shown`, `total` or `marked` changed: time to write the panel's title anew."""

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, Counted) and message.grid is self.grid


class ColumnSized(GridMessage, namespace="fleet_grid"):
    """The operator gave the column of field `name` another width, in cells."""

    def __init__(self, grid: GridView[Any], name: str, width: int) -> None:
        super().__init__(grid)
        self.name = name
        self.width = width
