"""Folders of weights and data on the Hugging Face Hub, with cards that say what they are."""
