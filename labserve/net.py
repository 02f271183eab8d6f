"""Ports on this machine."""

import errno
import os
import socket

from labserve.errors import LabserveError


def refuse_taken_port(host: str, port: int, option: str) -> None:
    """LabserveError if something listens on that port already; `option` is the command that takes another one."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            if os.name == "posix":  # elsewhere it would let two servers share a port
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OverflowError:
        raise LabserveError(f"There is no port {port}: the last is 65535. Try: {option} 8000") from None
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise LabserveError(f"This machine has no address {host} ({error.strerror}). Try: 127.0.0.1") from None
        other = port + 1 if 1024 <= port < 65535 else 8000
        raise LabserveError(f"Port {port} on {host} cannot be had ({error.strerror}). Try: {option} {other}") from None
