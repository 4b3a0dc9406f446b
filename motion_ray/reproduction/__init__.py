"""The paper's tables again: what to train, what the paper says, what we find, in words."""
