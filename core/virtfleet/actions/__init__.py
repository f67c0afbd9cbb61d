"""The verbs: from an action to a plan, by pure functions over a snapshot. `planner.plan` is the door."""
