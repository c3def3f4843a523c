"""Starts programs for a test: what starter.ts asks for on standard input, answered on standard output.

Node forks itself to start a program, which copies the page tables of a hundred megabytes; this process has a few, and
does not copy even those (Python's subprocess uses vfork). A request is a line of JSON and what the program gets on its
standard input, an answer a line of JSON and what the program printed; lengths are in the lines.
"""
import json
import signal
import subprocess
import sys
import threading

# Ctrl-C ends it like any program, without Python's traceback.
signal.signal(signal.SIGINT, signal.SIG_DFL)

answering = threading.Lock()


def answer(head, output=b"", errors=b""):
    head.update(output=len(output), errors=len(errors))
    with answering:
        sys.stdout.buffer.write(json.dumps(head).encode() + b"\n" + output + errors)
        sys.stdout.buffer.flush()


def ended(child, stdin, request):
    """What the program printed until its end: it gets SIGTERM in time, and SIGKILL if it does not heed it."""
    try:
        return child.communicate(stdin, request["timeout"])
    except subprocess.TimeoutExpired:
        child.terminate()
    try:
        return child.communicate(None, request["grace"])
    except subprocess.TimeoutExpired:
        child.kill()
    return child.communicate()


def serve(request, stdin):
    head = {"id": request["id"]}
    pipe = subprocess.PIPE
    try:
        child = subprocess.Popen(
            request["words"], stdin=pipe, stdout=pipe, stderr=pipe, env=request["env"], cwd=request["cwd"]
        )
    except (OSError, ValueError) as error:
        answer({**head, "failed": str(error)})
        return
    output, errors = ended(child, stdin, request)
    answer({**head, "status": child.returncode}, output, errors)


while line := sys.stdin.buffer.readline():
    request = json.loads(line)
    stdin = sys.stdin.buffer.read(request["input"])
    threading.Thread(target=serve, args=(request, stdin), daemon=True).start()
