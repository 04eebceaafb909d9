"""How `serve` answers while others hold connections: `python benchmarks/connections.py INDEX [--held 0 70 500]`.

Holds connections of a kind to a server over INDEX, and meanwhile asks it five times on new ones; prints a table of
the status of each answer and the seconds of the slowest.
"""

import argparse
import contextlib
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

QUESTION = "/api/search?q=a+lung+nodule+%3E+6+mm"
HELD = {
    "idle": b"",
    "half a head": b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: ",
    "a head, one byte a second": b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: ",
    "a slice that is not read": b"GET /api/slice/0 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
}
ASKED = 5
MOST_S = 15.0


def ask(port: int) -> tuple[str, float]:
    """Return the status of an answer on a new connection, and the seconds that it took."""
    started = time.perf_counter()
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=MOST_S) as link:
            head = f"GET {QUESTION} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"
            link.sendall(head.encode())
            answer = b""
            while part := link.recv(1 << 16):
                answer += part
        status = answer.split(b" ")[1].decode() if answer else "closed"
    except OSError as error:
        status = type(error).__name__
    return status, time.perf_counter() - started


def measure(index: Path, held: int, kind: str) -> tuple[list[str], float]:
    """Hold connections, and ask meanwhile."""
    command = [sys.executable, "-m", "noduleclip", "serve", "--emb-dir", str(index), "--port", "0"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    ended = threading.Event()
    try:
        assert server.stderr is not None
        said = next(found for line in server.stderr if (found := re.search(r"127\.0\.0\.1:(\d+)/", line)))
        port = int(said.group(1))
        threading.Thread(target=server.stderr.read, daemon=True).start()
        ask(port)
        with contextlib.ExitStack() as stack:
            links = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(held)]
            for link in links:
                with contextlib.suppress(OSError):
                    link.sendall(HELD[kind])

            def drip() -> None:
                while not ended.wait(1.0):
                    for link in links:
                        with contextlib.suppress(OSError):
                            link.sendall(b"x")

            if "byte" in kind:
                threading.Thread(target=drip, daemon=True).start()
            time.sleep(3.0 if "byte" in kind else 0.5)
            answers = [ask(port) for _ in range(ASKED)]
            ended.set()
    finally:
        ended.set()
        server.terminate()
        server.wait()
    return [status for status, _ in answers], max(seconds for _, seconds in answers)


def main() -> None:
    """Measure, and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("index", type=Path)
    parser.add_argument("--held", type=int, nargs="+", default=[0, 70, 500])
    given = parser.parse_args()
    print("| held connections | kind | answers | slowest, s |\n|---|---|---|---|")
    for held in given.held:
        for kind in HELD if held else ["idle"]:
            statuses, seconds = measure(given.index, held, kind)
            print(f"| {held} | {kind} | {', '.join(sorted(set(statuses)))} | {seconds:.2f} |", flush=True)


if __name__ == "__main__":
    main()
