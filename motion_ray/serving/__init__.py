"""Serving motions, without HTTP and without Ray: pool, scheduler, job store, requests."""
