"""What the Python peers share: the case to measure, and the talk with `peers.py`.

A peer is started with the case as JSON in its last argument. It prepares one step of the work, says
`{"program": NAME AND VERSION}`, and then for each line it is sent, a number of seconds, runs steps for that long and
answers `{"ms": [...]}`. One that cannot do the case says `{"unsupported": WHY}` and ends.
"""

import json
import sys
import time

PREPARING_STEPS = 2  # They compile, and touch all memory.


class Unsupported(Exception):
    """The program has no such precision or mode; the message says which."""


def say(answer):
    """Prints one answer on a line of its own."""
    print(json.dumps(answer), flush=True)


def times(step, seconds):
    """Runs `step` once to warm the caches, then for `seconds`, at least once; milliseconds of each."""
    step()
    milliseconds = []
    start = time.perf_counter()
    while not milliseconds or time.perf_counter() - start < seconds:
        before = time.perf_counter()
        step()
        milliseconds.append((time.perf_counter() - before) * 1e3)
    return milliseconds


def serve(prepare):
    """Talks with `peers.py` until it closes the line. `prepare(case)` returns the program's name and a step."""
    try:
        program, step = prepare(json.loads(sys.argv[-1]))
        for _ in range(PREPARING_STEPS):
            step()
    except Unsupported as error:
        say({"unsupported": str(error)})
        return
    say({"program": program})
    for line in sys.stdin:
        say({"ms": times(step, float(line))})
