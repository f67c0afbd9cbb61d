"""What the screens are built of: drawn line by line over values, ignorant of the engine."""
