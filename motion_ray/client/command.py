"""The command line of the client.

    python -m motion_ray.client "a red robot doing the pll" --out robot.mp4
    python -m motion_ray.client motions
    python -m motion_ray.client list
    python -m motion_ray.client watch video_... --out robot.mp4
    python -m motion_ray.client cancel video_...
    python -m motion_ray.client publish runs/arms/delta --name arms

The address is in MOTION_RAY_URL, the key, if the server has some, in MOTION_RAY_API_KEY. Standard
output holds the result alone: the file, an id, a table, or JSON. Ctrl-C cancels the job.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import json
import os
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from motion_ray.client.client import DEFAULT_URL, URL_VARIABLE, Client
from motion_ray.client.display import display_for, printable
from motion_ray.client.faults import ClientError
from motion_ray.client.values import Motion, MotionChoice, Video, VideoOrder

COMMANDS = ("generate", "watch", "list", "cancel", "motions", "publish")
USE_ERROR, INTERRUPTED, CUT_OFF = 2, 130, 141
ALIKE = 0.83  # a prompt of one word and a command that was mistyped
_MOTION = re.compile(r"(?P<id>[^@=]+)(?:@(?P<version>[1-9][0-9]*))?(?:=(?P<weight>[0-9.]+))?")


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m motion_ray.client",
        description="Generate videos on a server of motion_ray. "
        'Without a command: generate, e.g. python -m motion_ray.client "a robot waving".',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    server = argparse.ArgumentParser(add_help=False)
    server.add_argument("--url", help=f"default: {URL_VARIABLE}, or {DEFAULT_URL}")
    table = argparse.ArgumentParser(add_help=False, parents=[server])
    table.add_argument("--json", action="store_true", help="one JSON object in each line")

    _add_generate(commands.add_parser("generate", parents=[server], help="make a video (default)"))
    watch = commands.add_parser(
        "watch", parents=[server], help="wait for a job and fetch its video"
    )
    watch.add_argument("id", help="of the job")
    watch.add_argument("--out", type=Path, metavar="MP4", help="file to write (default: ID.mp4)")
    listing = commands.add_parser("list", parents=[table], help="your jobs, newest first")
    listing.add_argument("--limit", type=int, default=20, metavar="N", help="at most (20)")
    cancel = commands.add_parser("cancel", parents=[server], help="stop jobs")
    cancel.add_argument("id", nargs="+", help="of the job")
    commands.add_parser("motions", parents=[table], help="what the server can show")
    publish = commands.add_parser(
        "publish", parents=[server], help="add a motion; needs a key for administration"
    )
    publish.add_argument("source", help="folder of a delta")
    publish.add_argument("--name", required=True, help="of the motion on the server")
    publish.add_argument(
        "--from-server", action="store_true", help="the folder or URI is the server's, not ours"
    )
    # Whoever leaves the command out has to find its options here.
    parser.epilog = "\n".join(each.format_usage() for each in commands.choices.values())
    return parser


def _add_generate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("prompt", help="what to show; a motion's token in it asks for the motion")
    parser.add_argument("--out", type=Path, metavar="MP4", help="file to write (default: ID.mp4)")
    parser.add_argument(
        "--motion",
        action="append",
        metavar="ID[@VERSION][=WEIGHT]",
        help="use this motion, e.g. dabbing@2=0.7; may be repeated",
    )
    parser.add_argument("--no-motion", action="store_true", help="the base model alone")
    parser.add_argument("--negative-prompt", metavar="TEXT", help="what not to show")
    parser.add_argument("--size", metavar="WxH", help="pixels, e.g. 64x64")
    parser.add_argument("--seconds", type=float, metavar="S", help="length")
    parser.add_argument("--frames", type=int, metavar="N", help="instead of --seconds")
    parser.add_argument("--fps", type=int, metavar="N", help="frames a second")
    parser.add_argument("--steps", type=int, metavar="N", help="denoising steps")
    parser.add_argument("--guidance", type=float, metavar="X", help="1 is off")
    parser.add_argument("--seed", type=int, metavar="N", help="the same one gives the same video")
    parser.add_argument("--deadline", type=float, metavar="S", help="give up after so many seconds")
    parser.add_argument("--no-wait", action="store_true", help="print the job's id and leave")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code: 0, 2 if it could not be done, 130 after Ctrl-C, 141 if nobody reads what is
        written, for other commands than a list.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    explicit = bool(given) and given[0] in (*COMMANDS, "-h", "--help")
    args = arguments().parse_args(given if explicit else ["generate", *given])
    if not explicit and args.prompt in COMMANDS:
        print(f"error: the command goes first: {args.prompt} ...", file=sys.stderr)
        return USE_ERROR
    word = "" if explicit or " " in args.prompt else args.prompt
    if meant := difflib.get_close_matches(word, COMMANDS, 1, ALIKE):
        whole = f"to show {args.prompt!r}: generate {printable(args.prompt)}"
        print(f"error: the command is {meant[0]}; {whole}", file=sys.stderr)
        return USE_ERROR
    try:
        with Client(args.url) as client:
            done = _run(client, args)
        sys.stdout.flush()
    except ClientError as fault:
        _complain(fault)
        return USE_ERROR
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # who read what we write has enough of it
        for stream in (sys.stdout, sys.stderr):  # what is left is written at our end, to nobody
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return 0 if args.command in ("list", "motions") else CUT_OFF
    return 0 if done else USE_ERROR


def _complain(fault: ClientError) -> None:
    print(f"error: {printable(str(fault))}", file=sys.stderr)


def _run(client: Client, args: argparse.Namespace) -> bool:
    """Whether everything was done; what was not has been told."""
    done = True
    if args.command == "generate":
        video = client.create(_order(args))
        if args.no_wait:
            print(video.id)
        else:
            _finish(client, video, args.out)
    elif args.command == "watch":
        _finish(client, client.video(args.id), args.out)
    elif args.command == "cancel":
        for each in args.id:
            try:
                print(_video_line(client.cancel(each)))
            except ClientError as fault:  # the others are to be cancelled nevertheless
                _complain(fault)
                done = False
    elif args.command == "list":
        for video in client.videos(args.limit):
            print(_json(video) if args.json else _video_line(video))
    elif args.command == "motions":
        for motion in client.motions():
            print(_json(motion) if args.json else _motion_line(motion))
    else:
        print(_motion_line(_publish(client, args)))
    return done


def _finish(client: Client, video: Video, out: Path | None) -> None:
    """Wait for a job, showing it, and write its video; Ctrl-C cancels the job."""
    path = out or Path(f"{video.id}.mp4")
    try:
        with display_for(sys.stderr) as display:
            done = client.wait(video.id, display.show)
    except KeyboardInterrupt:
        print(f"cancelling {video.id}", file=sys.stderr)
        client.cancel(video.id)
        raise
    client.download(video.id, path)
    seconds = sum(done.timings.values())
    used = ", ".join(f"{each.id}@{each.version}" for each in done.motions) or "no motion"
    note = f"{printable(used)}, seed {done.seed}, {done.size}, {done.num_frames} frames"
    print(f"{note}, {seconds:.1f} s", file=sys.stderr)
    print(path)


def _order(args: argparse.Namespace) -> VideoOrder:
    motions: tuple[MotionChoice, ...] | None = None
    if args.motion:
        motions = tuple(map(_choice, args.motion))
    if args.no_motion:
        if motions is not None:
            raise ClientError("--no-motion", "contradicts --motion", "use one of them")
        motions = ()
    return VideoOrder(
        prompt=args.prompt,
        motions=motions,
        negative_prompt=args.negative_prompt,
        size=args.size,
        seconds=args.seconds,
        num_frames=args.frames,
        fps=args.fps,
        num_inference_steps=args.steps,
        guidance_scale=args.guidance,
        seed=args.seed,
        deadline_s=args.deadline,
    )


def _choice(text: str) -> MotionChoice:
    match = _MOTION.fullmatch(text)
    try:
        if match is None:
            raise ValueError(text)
        version = None if match["version"] is None else int(match["version"])
        return MotionChoice(match["id"], version, float(match["weight"] or 1.0))
    except ValueError as fault:
        raise ClientError("--motion", f"{text!r} is no motion", "e.g. dabbing@2=0.7") from fault


def _publish(client: Client, args: argparse.Namespace) -> Motion:
    if args.from_server:
        return client.register(args.source, args.name)
    return client.publish(Path(args.source), args.name)


def _video_line(video: Video) -> str:
    made = time.strftime("%Y-%m-%d %H:%M", time.localtime(video.created_at))
    why = f"  ({printable(video.error.message)})" if video.error is not None else ""
    state = f"{'cancelling' if video.cancelling else video.status} {video.progress}%"
    return f"{printable(video.id)}  {printable(state):17} {made}  {printable(video.prompt)}{why}"


def _motion_line(motion: Motion) -> str:
    note = "" if motion.served else f"  (for {printable(motion.base)}, which is not served)"
    example = printable(motion.template.replace("<token>", motion.token))
    return f"{printable(motion.id)}@{motion.version:<4} {motion.token:8} {example}{note}"


def _json(value: Video | Motion) -> str:
    return json.dumps(dataclasses.asdict(value))
