"""The HTTP API of serving; :func:`motion_ray.serving.http.app.create_app` makes the application."""
