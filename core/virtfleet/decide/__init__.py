"""Decisions: pure functions from values to an answer with its reasons. No I/O, no clock, nothing global."""
