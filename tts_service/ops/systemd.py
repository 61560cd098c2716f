"""Tells systemd how things stand: https://www.freedesktop.org/software/systemd/man/sd_notify.html"""

import os
import socket

import structlog

__all__ = ["notify"]

_TIMEOUT_S = 1.0


def notify(state: str) -> None:
    """Sends a state, such as `READY=1`, to who started this process, if that is systemd."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # a name without a file
        address = f"\0{address[1:]}"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.settimeout(_TIMEOUT_S)
            channel.sendto(state.encode(), address)
    except OSError as error:
        structlog.get_logger().warning("systemd was not told", state=state, problem=str(error))
