"""All hypervisors together: the supervisor of workers, the snapshot and its deltas, history, prompts."""
