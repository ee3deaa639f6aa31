"""Tasks as data: instructions, questions, task proposal and success detection."""
