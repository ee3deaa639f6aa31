"""The episode store: Lance files, their index, and checks of both."""
