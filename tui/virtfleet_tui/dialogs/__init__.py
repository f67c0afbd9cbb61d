"""Small windows over a screen: questions, choices, help."""
