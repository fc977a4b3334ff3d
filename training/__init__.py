"""The default model's recipe; runs from a checkout, see ``python -m training --help``."""
