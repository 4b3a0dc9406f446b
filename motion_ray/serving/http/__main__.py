"""A server on this machine, without Ray; with no arguments, of the embedded model.

For example::

    python -m motion_ray.serving.http
    python -m motion_ray.serving.http --motions demo/run/store --port 8080
    python -m motion_ray.serving.http --host 0.0.0.0 --keys keys.json
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import uvicorn
from pydantic import ValidationError

from motion_ray.config_errors import setting_error
from motion_ray.errors import MotionRayError
from motion_ray.serving.http.app import create_app
from motion_ray.serving.http.config import ServerConfig, check_exposure
from motion_ray.serving.http.standalone import StandaloneConfig, open_services

KEEP_ALIVE_S = 20
CONNECTIONS = 1024  # at once; more are answered with 503
LARGEST_HEAD = 2**14  # bytes of request line and headers
CLOSING_S = 10  # for open requests, when the server is told to stop


def arguments() -> argparse.ArgumentParser:
    """The command line; what it leaves out are the defaults of the two configs."""
    parser = argparse.ArgumentParser(
        prog="python -m motion_ray.serving.http",
        description="Serve a base model and its motions over HTTP, on this machine, without Ray.",
    )
    server, alone = ServerConfig(), StandaloneConfig()
    parser.add_argument("--host", default=server.host, help="default: %(default)s")
    parser.add_argument("--port", type=int, default=server.port, help="default: %(default)s")
    parser.add_argument("--keys", type=Path, help="file of API keys; needed for other hosts")
    parser.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME", help="a name it is called by"
    )
    parser.add_argument(
        "--allow-source", action="append", default=[], metavar="PLACE", help="to register from"
    )
    parser.add_argument("--base", default=alone.base, help="base model; default: %(default)s")
    parser.add_argument("--motions", default=alone.motions, help="store; default: %(default)s")
    parser.add_argument(
        "--state", type=Path, default=alone.state, help="jobs and videos; default: %(default)s"
    )
    parser.add_argument("--device", help="e.g. cpu or cuda; default: a GPU if there is one")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until interrupted; returns the exit code: 0, or 2 if it cannot be done."""
    args = arguments().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    # It tells every odd byte of a form, which is for whoever sends it to decide.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    try:
        config = ServerConfig(
            host=args.host,
            port=args.port,
            keys=args.keys,
            allowed_hosts=tuple(args.allow_host),
            sources=tuple(args.allow_source),
        )
        check_exposure(config.host, config.keys)
        alone = StandaloneConfig(
            base=args.base, motions=args.motions, state=args.state, device=args.device
        )
        app = create_app(config, open_services(config, alone))
    except MotionRayError as fault:
        print(f"error: {fault}", file=sys.stderr)
        return 2
    except ValidationError as fault:  # a port that is none
        wrong = setting_error(
            fault, ServerConfig, vars(args), ServerConfig().model_dump(mode="json")
        )
        print(f"error: --{wrong}", file=sys.stderr)
        return 2
    uvicorn.run(
        app,
        host=config.host,
        port=config.port,
        access_log=False,  # the application has its own, without query strings
        server_header=False,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=CLOSING_S,
        h11_max_incomplete_event_size=LARGEST_HEAD,
        log_config=None,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
