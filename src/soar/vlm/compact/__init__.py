"""The compact vision-language model that ships with the package."""
