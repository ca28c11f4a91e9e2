"""lotus2-video: steady, sharp depth and surface-normal video from any footage."""

__version__ = "0.1.0"
