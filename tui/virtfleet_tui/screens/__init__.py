"""One screen each: what fills the terminal."""
