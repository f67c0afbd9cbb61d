"""Parts of screens that know the fleet: lists, facts, plots, events, lines at the edges."""
