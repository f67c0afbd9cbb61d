"""Questions about a snapshot, pure: the fields of each noun, the filter language, looks, health, units."""
