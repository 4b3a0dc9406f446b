"""Teaching a base model a motion."""
