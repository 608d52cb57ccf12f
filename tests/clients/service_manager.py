"""A service manager as systemd is one, as far as a restart without a refused client goes:
service_manager.py BINARY CONFIG HTTP_PORT DNS_PORT

Keeps the sockets that the daemon stores (FDSTORE=1), restarts the daemon with them while clients
come in all the time, and ends with what those clients saw, as JSON. Two generations are restarted:
the sockets that were handed over are stored again.
"""

import array
import json
import os
import signal
import socket
import sys
import threading
import time

BINARY, CONFIG, HTTP_PORT, DNS_PORT = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
LIMIT = 60
# www.example.test, IN A
QUERY = (
    b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07example\x04test\x00\x00\x01\x00\x01"
)


class Manager:
    def __init__(self, path):
        self.path = path
        self.notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notices.bind(path)
        self.notices.settimeout(LIMIT)
        self.stored = {}  # name → descriptors
        self.pid = None

    def start(self):
        handed = [(name, fd) for name, fds in self.stored.items() for fd in fds]
        self.pid = os.fork()
        if self.pid == 0:
            environment = dict(os.environ, NOTIFY_SOCKET=self.path)
            if handed:
                # Out of the way of the places that they go to.
                high = [os.dup2(fd, 500 + index) for index, (_, fd) in enumerate(handed)]
                for index, fd in enumerate(high):
                    os.dup2(fd, 3 + index, inheritable=True)
                environment |= {
                    "LISTEN_PID": str(os.getpid()),
                    "LISTEN_FDS": str(len(handed)),
                    "LISTEN_FDNAMES": ":".join(name for name, _ in handed),
                }
            os.closerange(3 + len(handed), 1000)
            os.execve(BINARY, [BINARY, "-c", CONFIG, "run"], environment)
        self.wait_for("READY=1")
        return len(handed)

    def wait_for(self, wanted):
        deadline = time.monotonic() + LIMIT
        while time.monotonic() < deadline:
            space = socket.CMSG_SPACE(64 * 4)
            message, ancillary, _, _ = self.notices.recvmsg(65536, space)
            fds = array.array("i")
            for level, kind, data in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    fds.frombytes(data[: len(data) - len(data) % 4])
            lines = message.decode().splitlines()
            fields = dict(line.split("=", 1) for line in lines)
            name = fields.get("FDNAME", "stored")
            if "FDSTORE" in fields:
                self.stored.setdefault(name, []).extend(fds)
            if "FDSTOREREMOVE" in fields:
                for fd in self.stored.pop(name, []):
                    os.close(fd)
            if wanted in lines:
                return
        raise SystemExit(f"no {wanted}")

    def stop(self):
        os.kill(self.pid, signal.SIGTERM)
        self.wait_for("STOPPING=1")
        _, status = os.waitpid(self.pid, 0)
        if status != 0:
            raise SystemExit(f"the daemon ended with {status}")


class Clients:
    """Come in one after the other until told to stop; each wants an answer."""

    def __init__(self):
        self.stopping = threading.Event()
        self.answered = {"http": 0, "dns": 0}
        self.failed = []
        self.threads = [threading.Thread(target=self.http), threading.Thread(target=self.dns)]
        for thread in self.threads:
            thread.start()

    def http(self):
        while not self.stopping.is_set():
            try:
                with socket.create_connection(("127.0.0.1", HTTP_PORT), LIMIT) as client:
                    client.sendall(b"GET / HTTP/1.1\r\nHost: example.test\r\nConnection: close\r\n\r\n")
                    reply = b""
                    while piece := client.recv(65536):
                        reply += piece
                if not reply.startswith(b"HTTP/1.1 200"):
                    raise OSError(f"answered {reply[:40]}")
                self.answered["http"] += 1
            except OSError as error:
                self.failed.append(f"http: {error}")

    def dns(self):
        while not self.stopping.is_set():
            try:
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                    client.settimeout(LIMIT)
                    client.connect(("127.0.0.1", DNS_PORT))
                    client.send(QUERY)
                    reply = client.recv(65536)
                if reply[:2] != QUERY[:2] or reply[3] & 15 != 0:
                    raise OSError(f"answered {reply[:12]}")
                self.answered["dns"] += 1
            except OSError as error:
                self.failed.append(f"dns: {error}")
            time.sleep(0.001)

    def wait_for_more(self, count=20):
        deadline = time.monotonic() + LIMIT
        wanted = {service: answered + count for service, answered in self.answered.items()}
        while any(self.answered[service] < wanted[service] for service in wanted):
            if time.monotonic() > deadline:
                raise SystemExit(f"no more answers: {self.answered} {self.failed[:5]}")
            time.sleep(0.01)

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()


manager = Manager(os.path.join(os.path.dirname(CONFIG), "manager.sock"))
manager.start()
handed = []
clients = Clients()
try:
    clients.wait_for_more()
    for _ in range(2):
        manager.stop()
        time.sleep(0.3)  # Clients queue meanwhile: the length of an upgrade, not a wait.
        handed.append(manager.start())
        clients.wait_for_more()
finally:
    clients.stop()
    manager.stop()
print(
    json.dumps(
        {
            "stored": {name: len(fds) for name, fds in manager.stored.items()},
            "handed": handed,
            "answered": clients.answered,
            "failed": clients.failed,
        }
    )
)
