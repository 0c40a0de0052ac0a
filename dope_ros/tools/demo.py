"""The whole system on one machine: demo camera, dope_node and recorder over real topics.

    python -m dope_ros.demo --source people --seconds 15 --out out

Runs on its own ROS domain and on this machine only, away from any robot. Exit code 0 if people were
found; otherwise it prints why, and the last lines of a node that died.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from ament_index_python.packages import get_package_prefix, get_package_share_directory

from dope_model.pictures import pictures_in
from dope_model.weights import DEFAULT_MODEL

_SECONDS_PER_PICTURE = 3.0
_LAST_LINES = 25


def free_domain_id() -> int:
    """A ROS domain that no process on this machine uses.

    Raises:
        RuntimeError: all are taken.
    """
    # Up to 101 the domain's ports lie below those that Linux hands out to anyone.
    domains = list(range(1, 102))
    random.shuffle(domains)
    for domain in domains:
        # The unicast discovery port of a domain's first participant (RTPS 2.5, 9.6.2.3).
        port = 7400 + 250 * domain + 10
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return domain
    raise RuntimeError("every ROS domain on this machine is in use")


def large_image_transport() -> dict[str, str]:
    """Environment variable that lets Fast DDS pass images whole; see config/fastdds.xml."""
    old = os.environ.get("ROS_DISTRO") in ("humble", "iron", "jazzy")
    name = "FASTRTPS_DEFAULT_PROFILES_FILE" if old else "FASTDDS_DEFAULT_PROFILES_FILE"
    return {name: str(Path(get_package_share_directory("dope_ros"), "config", "fastdds.xml"))}


def isolated_environment(domain: int, log_dir: Path) -> dict[str, str]:
    """This process's environment, changed so that ROS stays on `domain` and this machine."""
    environment = dict(os.environ, ROS_DOMAIN_ID=str(domain), PYTHONUNBUFFERED="1")
    # The older name still works in newer releases, with a warning; both at once are not needed.
    if environment.get("ROS_DISTRO") == "humble":
        environment["ROS_LOCALHOST_ONLY"] = "1"
    else:
        environment.pop("ROS_LOCALHOST_ONLY", None)
        environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
        environment.pop("ROS_STATIC_PEERS", None)
    environment["ROS_LOG_DIR"] = str(log_dir)
    for name, value in large_image_transport().items():
        environment.setdefault(name, value)
    return environment


def node_command(executable: str, parameters: dict[str, object]) -> list[str]:
    """What `ros2 run` would start: an installed executable in the namespace /dope."""
    path = Path(get_package_prefix("dope_ros"), "lib", "dope_ros", executable)
    command = [sys.executable, str(path), "--ros-args", "-r", "__ns:=/dope"]
    for name, value in parameters.items():
        # Quoted, or YAML would read the source 0 as a number.
        text = "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)
        command += ["-p", f"{name}:={text}"]
    return command


class Processes:
    """Processes that end together. Those with a log write to `log_dir`/NAME.log."""

    def __init__(self, environment: dict[str, str], log_dir: Path):
        self._environment = environment
        self._log_dir = log_dir
        self._running: dict[str, subprocess.Popen] = {}

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, name: str, command: list[str], log: bool = True) -> None:
        """Start a process in a group of its own: Ctrl-C reaches only us, and we stop it."""
        with contextlib.ExitStack() as stack:
            output = stack.enter_context(self._log(name).open("w")) if log else None
            self._running[name] = subprocess.Popen(
                command,
                env=self._environment,
                stdout=output,
                stderr=subprocess.STDOUT if log else None,
                start_new_session=True,
            )

    def exit_code(self, name: str) -> int | None:
        """None while it runs."""
        return self._running[name].poll()

    def last_lines(self, name: str) -> str:
        """The end of its log."""
        lines = self._log(name).read_text(errors="replace").splitlines()
        return "\n".join(f"    {line}" for line in lines[-_LAST_LINES:])

    def stop(self) -> None:
        """End all that still run: politely, then by force."""
        for number, seconds in ((signal.SIGINT, 5), (signal.SIGTERM, 3), (signal.SIGKILL, 3)):
            for process in self._running.values():
                if process.poll() is None:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, number)
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                if all(process.poll() is not None for process in self._running.values()):
                    return
                time.sleep(0.05)

    def _log(self, name: str) -> Path:
        return self._log_dir / f"{name}.log"


def default_seconds(source: str) -> float:
    """How long to record: each picture of a folder once, within reason, and 15 s of all else."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        return min(max(len(pictures_in(folder)), 1) * _SECONDS_PER_PICTURE, 300.0)
    return 15.0


def run(source: str, model: str, seconds: float, out: Path, domain: int) -> int:
    """Run the demo; the exit code."""
    log_dir = out / "log"
    log_dir.mkdir(parents=True, exist_ok=True)
    print(f"source {source}, model {model}, ROS_DOMAIN_ID={domain}, topics in /dope", flush=True)
    with Processes(isolated_environment(domain, log_dir), log_dir) as processes:
        processes.start(
            "demo_camera",
            node_command(
                "demo_camera", {"source": source, "seconds_per_picture": _SECONDS_PER_PICTURE}
            ),
        )
        processes.start(
            "dope_node",
            node_command("dope_node", {"model": model, "exit_if_start_fails": True}),
        )
        processes.start(
            "recorder",
            node_command("recorder", {"out": str(out), "seconds": float(seconds)}),
            log=False,
        )
        while (result := processes.exit_code("recorder")) is None:
            for name in ("demo_camera", "dope_node"):
                if (code := processes.exit_code(name)) is not None:
                    print(f"\n{name} ended with exit code {code}. Its last lines:", flush=True)
                    print(processes.last_lines(name), flush=True)
                    return 1
            time.sleep(0.1)
        if result != 0:
            for name in ("demo_camera", "dope_node"):
                print(f"The last lines of {name}:\n{processes.last_lines(name)}", flush=True)
            return 1
    print(f"\nPictures, poses.jsonl and summary.json are in {out}/; look at {out}/people.png")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m dope_ros.demo", description="People found over real ROS 2 topics."
    )
    parser.add_argument(
        "--source",
        default="people",
        help="people (two rendered people), clip (the same in motion), astronaut (a photo), a "
        "picture, a folder of pictures, a video, /dev/videoN or N (%(default)s)",
    )
    parser.add_argument(
        "--model", default=DEFAULT_MODEL, help="parameter of dope_node (%(default)s)"
    )
    parser.add_argument("--seconds", help="how long to record (15, or 3 per picture of a folder)")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder (%(default)s)")
    parser.add_argument("--domain", type=int, help="ROS_DOMAIN_ID (one that nobody uses)")
    options = parser.parse_args(arguments)
    try:
        seconds = float(options.seconds) if options.seconds else default_seconds(options.source)
    except ValueError:
        parser.error(f"--seconds {options.seconds!r} is not a number")
    if not 0.1 <= seconds <= 86400:
        parser.error(f"--seconds {seconds:g} is not between 0.1 and 86400")
    domain = free_domain_id() if options.domain is None else options.domain
    try:
        return run(options.source, options.model, seconds, options.out, domain)
    except KeyboardInterrupt:
        print("\nstopped")
        return 130
