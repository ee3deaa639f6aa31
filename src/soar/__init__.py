"""SOAR: robots that propose their own tasks, try them, judge themselves, and come back better."""

__version__ = "0.1.0"
