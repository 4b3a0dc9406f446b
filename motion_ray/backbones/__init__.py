"""Base models: what they are, how they are loaded and checked."""
