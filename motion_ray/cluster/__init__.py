"""Where training runs: Ray clusters, their workers and what they report.

The only package of the library that imports ray.
"""
