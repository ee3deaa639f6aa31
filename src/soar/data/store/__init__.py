"""The episode store: Lance files, their table of rows, and checks of both."""
