"""A server on this machine, without Ray; with no arguments, of the embedded model.

For example::

    python -m motion_ray.serving.http
    python -m motion_ray.serving.http --motions demo/run/store --port 8080
    python -m motion_ray.serving.http --host 0.0.0.0 --keys keys.json
    python -m motion_ray.serving.http --config serving.yaml
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import uvicorn
from pydantic import ValidationError

from motion_ray.config_errors import setting_error
from motion_ray.errors import ConfigError, MotionRayError
from motion_ray.serving.http.app import create_app
from motion_ray.serving.http.config import check_exposure
from motion_ray.serving.http.standalone import StandaloneConfig, open_services
from motion_ray.serving.logs import log_json
from motion_ray.serving.settings_file import read_settings, set_setting
from motion_ray.threads import apart

CONNECTIONS = 1024  # at once; more are answered with 503
LARGEST_HEAD = 2**14  # bytes of request line and headers that are kept while more is to come
#: How uvicorn is to behave.
LISTENING: Mapping[str, Any] = {
    "http": "h11",  # httptools, which it would take by itself, keeps headers of any size
    "h11_max_incomplete_event_size": LARGEST_HEAD,
    "limit_concurrency": CONNECTIONS,
    "timeout_keep_alive": 20,
    "timeout_graceful_shutdown": 10,  # seconds for open requests, when it is told to stop
    "access_log": False,  # the application has its own, without query strings
    "server_header": False,
    "log_config": None,
}

#: Options that are settings; one that is given takes the place of the file's.
OPTIONS: Mapping[str, str] = {
    "host": "server.host",
    "port": "server.port",
    "keys": "server.keys",
    "allow_host": "server.allowed_hosts",
    "allow_source": "server.sources",
    "base": "site.base",
    "motions": "site.store",
    "state": "site.state",
}


def arguments() -> argparse.ArgumentParser:
    """The command line; what it leaves out, the file or the defaults say."""
    parser = argparse.ArgumentParser(
        prog="python -m motion_ray.serving.http",
        description="Serve a base model and its motions over HTTP, on this machine, without Ray.",
    )
    usual = StandaloneConfig()
    site, server = usual.site, usual.server
    parser.add_argument("--host", help=f"default: {server.host}")
    parser.add_argument("--port", type=int, help=f"default: {server.port}")
    parser.add_argument("--keys", type=Path, help="file of API keys; needed for other hosts")
    parser.add_argument(
        "--allow-host", action="append", metavar="NAME", help="a name it is called by"
    )
    parser.add_argument("--allow-source", action="append", metavar="PLACE", help="to register from")
    parser.add_argument("--base", help=f"base model; default: {site.base}")
    parser.add_argument("--motions", help=f"store; default: {site.store}")
    parser.add_argument("--state", type=Path, help=f"jobs and videos; default: {site.state}")
    parser.add_argument("--device", help="e.g. cpu or cuda; default: a GPU if there is one")
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="YAML with these and more (docs/api.md)"
    )
    return parser


def settings_from(args: argparse.Namespace) -> StandaloneConfig:
    """What the file says, and what the command line says instead.

    Raises:
        ConfigError: the file cannot be read, or a setting is wrong.
    """
    values = read_settings(args.config)
    given = {path: name for name, path in OPTIONS.items() if vars(args)[name] is not None}
    for path, name in given.items():
        set_setting(values, path, vars(args)[name])
    try:
        return StandaloneConfig.model_validate(values)
    except ValidationError as fault:
        good = StandaloneConfig().model_dump(mode="json")
        wrong = setting_error(fault, StandaloneConfig, values, good)
        option = given.get(wrong.where)
        where = wrong.where if option is None else f"--{option}".replace("_", "-")
        raise ConfigError(where, wrong.rule, wrong.fix) from None


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until interrupted; returns the exit code: 0, or 2 if it cannot be done."""
    args = arguments().parse_args(argv)
    log_json("")
    # It tells every odd byte of a form, which is for whoever sends it to decide.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    try:
        settings = settings_from(args)
        config = settings.server
        check_exposure(config.host, config.keys)
        app = create_app(config, apart(lambda: open_services(settings, args.device)))
    except MotionRayError as fault:
        print(f"error: {fault}", file=sys.stderr)
        return 2
    uvicorn.run(app, host=config.host, port=config.port, **LISTENING)
    return 0


if __name__ == "__main__":
    sys.exit(main())
