"""The workers of a cluster: who they are, by the environment variable TF_CONFIG, and how they wait for each other.

Nothing here imports TensorFlow, so that a wrong TF_CONFIG is reported before it loads.
"""

import contextlib
import json
import os
import re
import socket
import time
from typing import Any, NamedTuple

from tfrnn.errors import UserError

TF_CONFIG = "TF_CONFIG"
EXAMPLE = '{"cluster": {"worker": ["localhost:2222", "localhost:2223"]}, "task": {"type": "worker", "index": 0}}'
_TASK_TYPES = ("chief", "worker")  # in the order of their ranks
_ADDRESS = re.compile(r"[^\s/]+:[0-9]{1,5}")
_CONNECT_SECONDS, _GREETING_SECONDS, _RETRY_SECONDS = 1.0, 5.0, 0.2
_PROCEED, _OTHER_ADDRESSES = b"go", b"no"  # the chief's answers to a greeting


class Cluster(NamedTuple):
    """The workers of a cluster, and which of them this process is."""

    addresses: tuple[str, ...]  # host:port of each worker by rank; the first is the chief's
    rank: int  # of this process

    @property
    def name(self) -> str:
        """This worker's rank and address, for messages."""
        return f"worker {self.rank} ({self.addresses[self.rank]})"

    def wait_for_all(self, seconds: float) -> None:
        """Returns when all workers have started.

        Call this before TensorFlow, whose own waiting cannot be interrupted.

        Args:
          seconds: how long to wait at most.

        Raises:
          UserError: a worker has not started in time, this worker's address is in use, or the chief has another list of
            addresses.
        """
        deadline = time.monotonic() + seconds
        with self._listen() as server:
            if self.rank == 0:
                missing = self._gather_workers(server, deadline)
                reason = f"only {len(self.addresses) - len(missing)} have started; missing: {', '.join(missing)}"
            else:
                server.close()  # only the chief needs it; that the port is free is now known
                missing = [] if self._greet_chief(deadline) else [self.addresses[0]]
                reason = f"the chief at {self.addresses[0]} has not answered"
        if missing:
            raise UserError(
                f"{self.name}: expected all {len(self.addresses)} workers of {TF_CONFIG} within "
                f"`worker_timeout={seconds:g}` seconds, but {reason}; start all of them, each with the same addresses"
            )

    def _listen(self) -> socket.socket:
        """Returns a server socket on this worker's port."""
        host, port = _host_and_port(self.addresses[self.rank])
        try:
            if host == "localhost" or host.startswith("127."):  # reachable only from this machine
                return socket.create_server((host, port))
            if socket.has_dualstack_ipv6():
                return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
            return socket.create_server(("", port))
        except OSError as error:
            reason = error.strerror or error
            raise UserError(
                f"{self.name}: expected a port that is free on this machine, but {reason}; end the program that uses "
                f"it, or change the port in {TF_CONFIG}"
            ) from None

    def _gather_workers(self, server: socket.socket, deadline: float) -> list[str]:
        """The chief's part: waits for the other workers, then lets all proceed. Returns the missing addresses."""
        connections: dict[int, socket.socket] = {}  # by rank
        try:
            while len(connections) < len(self.addresses) - 1 and (left := deadline - time.monotonic()) > 0:
                server.settimeout(left)
                try:
                    connection, _ = server.accept()
                except OSError:  # the time is over
                    continue
                if rank := self._read_greeting(connection):
                    if rank in connections:  # the worker has been started again
                        connections[rank].close()
                    connections[rank] = connection
                else:
                    connection.close()
            missing = [address for rank, address in enumerate(self.addresses) if rank and rank not in connections]
            for rank, connection in connections.items() if not missing else ():
                try:
                    connection.sendall(_PROCEED)
                except OSError:  # the worker has ended meanwhile
                    missing.append(self.addresses[rank])
            return missing
        finally:
            for connection in connections.values():
                connection.close()

    def _read_greeting(self, connection: socket.socket) -> int:
        """Returns the rank of the worker that has connected, or 0 if it is not a worker of this cluster."""
        try:
            connection.settimeout(_GREETING_SECONDS)
            with connection.makefile() as lines:
                greeting = json.loads(lines.readline(2**20))
            if greeting["addresses"] != list(self.addresses):
                connection.sendall(_OTHER_ADDRESSES)
                return 0
            return greeting["rank"] if greeting["rank"] in range(len(self.addresses)) else 0
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return 0

    def _greet_chief(self, deadline: float) -> bool:
        """The other workers' part: returns whether the chief has let this worker proceed in time."""
        greeting = json.dumps({"addresses": self.addresses, "rank": self.rank}).encode() + b"\n"
        while (left := deadline - time.monotonic()) > 0:
            with contextlib.suppress(OSError, UnicodeError):  # UnicodeError: an impossible host name
                with socket.create_connection(_host_and_port(self.addresses[0]), min(left, _CONNECT_SECONDS)) as chief:
                    chief.settimeout(left)
                    chief.sendall(greeting)
                    answer = chief.recv(len(_PROCEED))
                if answer == _OTHER_ADDRESSES:
                    raise UserError(
                        f"{self.name}: expected the same addresses in {TF_CONFIG} as the chief has at "
                        f"{self.addresses[0]}; start all workers again with the same ones"
                    )
                if answer == _PROCEED:
                    return True
            time.sleep(min(left, _RETRY_SECONDS))
        return False

    def unreachable(self) -> list[str]:
        """Returns the addresses of the other workers that do not accept connections."""
        return [a for rank, a in enumerate(self.addresses) if rank != self.rank and not _accepts_connections(a)]

    def connection_lost(self, error: Exception) -> UserError:
        """Returns the error to raise after TensorFlow's `error`, which says that another worker cannot be reached."""
        unreachable = self.unreachable()
        reason = f"nobody answers at {', '.join(unreachable)} any more" if unreachable else "another worker has stopped"
        return UserError(
            f"{self.name}: expected all workers to keep running, but {reason} ({type(error).__name__}); start all of "
            "them again by the same command, and they resume from the last checkpoint"
        )


def from_tf_config() -> Cluster:
    """Returns the cluster that the environment variable TF_CONFIG describes.

    The chief is the task of type chief if there is one, or else the first worker.

    Raises:
      UserError: TF_CONFIG is not set, or not as TensorFlow documents it.
    """
    text = os.environ.get(TF_CONFIG, "")
    if not text:
        raise UserError(
            f"`strategy=multi_worker`: expected the cluster in the environment variable {TF_CONFIG}, which is not set; "
            f"set it for each worker, e.g. {TF_CONFIG}='{EXAMPLE}'"
        )
    try:
        config = json.loads(text)
        cluster, task = config["cluster"], config["task"]
        task_type, index = str(task["type"]), int(task["index"])
        lists = {name: cluster.get(name, []) for name in _TASK_TYPES}
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise _error(f"JSON such as {EXAMPLE}", repr(text[:200])) from None
    if "ps" in cluster:
        raise _error(f"only tasks of type {' and '.join(_TASK_TYPES)}", "ps in the cluster")
    if task_type not in lists:
        raise _error(f"only tasks of type {' and '.join(_TASK_TYPES)}", f"this task as {task_type!r}")
    addresses: list[Any] = [a for name in _TASK_TYPES for a in (lists[name] if isinstance(lists[name], list) else [0])]
    if not all(map(_is_address, addresses)):
        raise _error("lists of addresses host:port", repr(addresses[:5]))
    if len(set(addresses)) < len(addresses) or len(lists["chief"]) > 1:
        raise _error("one address for each worker, and at most one chief", repr(addresses[:5]))
    if not 0 <= index < len(lists[task_type]):
        raise _error(f"the index of one of the {len(lists[task_type])} tasks of type {task_type}", str(index))
    return Cluster(tuple(addresses), index + (len(lists["chief"]) if task_type == "worker" else 0))


def _error(expected: str, received: str) -> UserError:
    return UserError(f"{TF_CONFIG}: expected {expected}; got {received}; correct it, or leave `strategy` out")


def _is_address(value: Any) -> bool:
    return isinstance(value, str) and bool(_ADDRESS.fullmatch(value)) and 0 < _host_and_port(value)[1] < 2**16


def _host_and_port(address: str) -> tuple[str, int]:
    host, port = address.rsplit(":", 1)
    return host.strip("[]"), int(port)


def _accepts_connections(address: str) -> bool:
    try:
        with socket.create_connection(_host_and_port(address), _CONNECT_SECONDS):
            return True
    except (OSError, UnicodeError):
        return False
