"""What can go wrong in the lab itself, told apart from what a test finds wrong."""

from __future__ import annotations


class LabError(RuntimeError):
    """The lab could not do what it was asked; the text says which program or step, and what it said."""


class LabUnavailable(LabError):  # noqa: N818 - a state of the machine, not a fault of the caller
    """This machine cannot run a lab at all (not Linux, not root, a package missing)."""
