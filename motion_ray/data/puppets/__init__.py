"""The puppet world: a small procedural domain of video, which the embedded base model knows."""
