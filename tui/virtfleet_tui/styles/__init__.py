"""How the console looks: themes and the style sheet."""
