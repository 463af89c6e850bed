"""The workers of a cluster, by the environment variable TF_CONFIG, which launchers set, and how long they wait.

Nothing here needs TensorFlow, so that what is wrong with TF_CONFIG is said before it loads.
"""

import contextlib
import json
import os
import re
import socket
import time
from typing import Any, NamedTuple

from tfrnn.errors import UserError

VARIABLE = "TF_CONFIG"
EXAMPLE = '{"cluster": {"worker": ["localhost:2222", "localhost:2223"]}, "task": {"type": "worker", "index": 0}}'
_ROLES = ("chief", "worker")  # in the order of the replicas
_ADDRESS = re.compile(r"[^\s/]+:[0-9]{1,5}")
_PROBE_SECONDS, _GREETING_SECONDS, _PAUSE_SECONDS = 1.0, 5.0, 0.2
_GO, _OTHERS = b"go", b"no"


class Cluster(NamedTuple):
    """Who the workers are."""

    addresses: tuple[str, ...]  # host:port of each, the chief's first
    number: int  # of this process

    @property
    def name(self) -> str:
        """This process's, for messages."""
        return f"worker {self.number} ({self.addresses[self.number]})"

    def meet(self, seconds: float) -> None:
        """Returns when all workers are there, so that TensorFlow, which cannot be interrupted while it waits, need not.

        Raises UserError after so many seconds, where this worker's address is taken, and where the chief has another
        list of addresses.
        """
        end = time.monotonic() + seconds
        with self._listen() as own:
            if self.number == 0:
                missing = self._gather_others(own, end)
                how = f"only {len(self.addresses) - len(missing)} have come; missing: {', '.join(missing)}"
            else:
                own.close()  # it was free, which is enough
                missing = [] if self._greet_chief(end) else [self.addresses[0]]
                how = f"the chief at {self.addresses[0]} has not answered"
        if missing:
            raise UserError(
                f"{self.name}: expected all {len(self.addresses)} workers of {VARIABLE} within --worker_timeout="
                f"{seconds:g} seconds, but {how}; start all of them, each with the same addresses"
            )

    def _listen(self) -> socket.socket:
        host, port = _host_and_port(self.addresses[self.number])
        try:
            if host == "localhost" or host.startswith("127."):  # to be seen from this machine alone
                return socket.create_server((host, port))
            if socket.has_dualstack_ipv6():
                return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
            return socket.create_server(("", port))
        except OSError as error:
            reason = error.strerror or error
            raise UserError(
                f"{self.name}: expected a port that is free on this machine, but {reason}; end who has it, or give "
                f"another in {VARIABLE}"
            ) from None

    def _gather_others(self, own: socket.socket, end: float) -> list[str]:
        """The chief's part: lets all go when all have come; gives the addresses of those that have not."""
        waiting: dict[int, socket.socket] = {}
        try:
            while len(waiting) < len(self.addresses) - 1 and (left := end - time.monotonic()) > 0:
                own.settimeout(left)
                try:
                    visitor, _ = own.accept()
                except OSError:  # none has come
                    continue
                if number := self._hear(visitor):
                    if number in waiting:  # it has begun again
                        waiting[number].close()
                    waiting[number] = visitor
                else:
                    visitor.close()
            missing = [address for i, address in enumerate(self.addresses) if i and i not in waiting]
            for number, visitor in waiting.items() if not missing else ():
                try:
                    visitor.sendall(_GO)
                except OSError:  # it has gone meanwhile
                    missing.append(self.addresses[number])
            return missing
        finally:
            for visitor in waiting.values():
                visitor.close()

    def _hear(self, visitor: socket.socket) -> int:
        """The number of the worker that has come; 0 for who is none of ours."""
        try:
            visitor.settimeout(_GREETING_SECONDS)
            with visitor.makefile() as words:
                said = json.loads(words.readline(2**20))
            if said["addresses"] != list(self.addresses):
                visitor.sendall(_OTHERS)
                return 0
            return said["number"] if said["number"] in range(len(self.addresses)) else 0
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return 0

    def _greet_chief(self, end: float) -> bool:
        """The others' part: whether the chief has let all go."""
        greeting = json.dumps({"addresses": self.addresses, "number": self.number}).encode() + b"\n"
        while (left := end - time.monotonic()) > 0:
            with contextlib.suppress(OSError, UnicodeError):  # UnicodeError: a name that no host can have
                with socket.create_connection(_host_and_port(self.addresses[0]), min(left, _PROBE_SECONDS)) as chief:
                    chief.settimeout(left)
                    chief.sendall(greeting)
                    answer = chief.recv(len(_GO))
                if answer == _OTHERS:
                    raise UserError(
                        f"{self.name}: expected the same addresses in {VARIABLE} as the chief has at "
                        f"{self.addresses[0]}; start all workers anew with the same ones"
                    )
                if answer == _GO:
                    return True
            time.sleep(min(left, _PAUSE_SECONDS))
        return False

    def silent(self) -> list[str]:
        """The addresses of the others where nobody listens."""
        return [a for i, a in enumerate(self.addresses) if i != self.number and not _answers(a)]

    def lost(self, error: Exception) -> UserError:
        """What is said where a worker can no longer be reached."""
        silent = self.silent()
        who = f"nobody answers at {', '.join(silent)} any more" if silent else "another worker has stopped"
        return UserError(
            f"{self.name}: expected all workers to go on, but {who} ({type(error).__name__}); start all of them again "
            "by the same command, and they go on from the last checkpoint"
        )


def from_environment() -> Cluster:
    """The cluster that TF_CONFIG describes: an optional chief and workers, the first of which is the chief else.

    Raises UserError where it is not set, or is not as TensorFlow documents it.
    """
    text = os.environ.get(VARIABLE, "")
    if not text:
        raise UserError(
            f"--strategy=multi_worker: expected the cluster in the environment variable {VARIABLE}, which is not set; "
            f"set it for each worker, such as {VARIABLE}='{EXAMPLE}'"
        )
    try:
        given = json.loads(text)
        roles, task = given["cluster"], given["task"]
        kind, index = str(task["type"]), int(task["index"])
        lists = {role: roles.get(role, []) for role in _ROLES}
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise _wrong(f"JSON such as {EXAMPLE}", repr(text[:200])) from None
    if kind not in lists or "ps" in roles:
        kinds = " and ".join(_ROLES)
        raise _wrong(f"tasks of type {kinds} alone", "ps in the cluster" if "ps" in roles else f"this task as {kind!r}")
    addresses: list[Any] = [a for role in _ROLES for a in (lists[role] if isinstance(lists[role], list) else [None])]
    good = (isinstance(a, str) and _ADDRESS.fullmatch(a) and 0 < _host_and_port(a)[1] < 2**16 for a in addresses)
    if not all(good):
        raise _wrong("lists of addresses host:port", repr(addresses[:5]))
    if len(set(addresses)) < len(addresses) or len(lists["chief"]) > 1:
        raise _wrong("one address for each worker, and one chief at most", repr(addresses[:5]))
    if not 0 <= index < len(lists[kind]):
        raise _wrong(f"the index of one of the {len(lists[kind])} tasks of type {kind}", str(index))
    return Cluster(tuple(addresses), index + (len(lists["chief"]) if kind == "worker" else 0))


def _wrong(expected: str, received: str) -> UserError:
    return UserError(f"{VARIABLE}: expected {expected}; got {received}; correct it, or leave --strategy out")


def _host_and_port(address: str) -> tuple[str, int]:
    host, port = address.rsplit(":", 1)
    return host.strip("[]"), int(port)


def _answers(address: str) -> bool:
    try:
        with socket.create_connection(_host_and_port(address), _PROBE_SECONDS):
            return True
    except (OSError, UnicodeError):
        return False
