"""How the models that this project ships were made: resumable training from nothing."""
