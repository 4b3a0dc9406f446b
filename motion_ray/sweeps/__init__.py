"""Many customizations at once, without a cluster: what to run, what has run, what to stop, what was
best. :mod:`motion_ray.cluster` decides where the trials run.
"""
