"""Debian's Mosquitto as the other broker of a scenario."""

import os
import pathlib
import socket
import subprocess

from checks import expect


def mosquitto(opened, scratch):
    """Starts it on a free port, with its configuration in `scratch`, and returns its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = pathlib.Path(scratch) / "mosquitto.conf"
    config.parent.mkdir(parents=True, exist_ok=True)
    settings = ["allow_anonymous true", "persistence false", "log_type information", "user root"]
    config.write_text("\n".join([*settings, f"listener {port} 127.0.0.1", ""]))
    # Debian installs it where only root's PATH looks.
    environment = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin"}
    command = ["mosquitto", "-c", str(config)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    opened.enter_context(process)
    opened.callback(process.kill)
    running = any(line.rstrip().endswith("running") for line in process.stderr)
    expect(running, "Mosquitto runs")
    return f"mqtt://127.0.0.1:{port}"
