"""From files to latents: reading clips, captions, augmentation, mixing and caching."""
