#!/usr/bin/env python3
"""Measures `vgg` next to PyTorch, TensorFlow, OpenVINO, ONNX Runtime, Burn and Candle on this machine.

Every program runs the same network on random pictures in a process of its own, and they take turns:
vgg, the first peer, the second, ..., again and again. What a peer needs is in scripts/peers/README.md;
one that is missing is named and left out.

    cargo build --release
    python scripts/peers.py
    python scripts/peers.py --works train --precisions bf16 --peers pytorch,tensorflow --json figures.json
"""

import argparse
import contextlib
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent
PROGRAMS = SCRIPTS / "peers"
WORKS = {
    "train": "training step",
    "predict": "prediction",
    "single": "prediction of one picture",
}
CONVOLUTIONS = {  # of each of the five stages, which end in a pool
    "vgg11": (1, 1, 2, 2, 2),
    "vgg13": (2, 2, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3),
    "vgg19": (2, 2, 4, 4, 4),
}
STAGE_CHANNELS = (64, 128, 256, 512, 512)
HEADS = {  # outputs of dense layers, and rates of dropout
    "tutorial": (4096, 4096, 1000, 0.4),
    "paper": (4096, 0.5, 4096, 0.5),
}
CLASSES = 10


@dataclass
class Peer:
    """A program to compare with: how to start it, what it needs, and how it may be capped to AVX2."""

    command: list
    needs: tuple = ()
    modes: tuple = ("",)
    avx2: dict | None = None


def rust_peer(name):
    """A peer that Cargo has built, here or in CARGO_TARGET_DIR."""
    target = os.environ.get("CARGO_TARGET_DIR") or PROGRAMS / name / "target"
    return Peer([str(Path(target, "release", f"{name}_vgg").resolve())])


def python_peer(file, *words, **fields):
    """A peer that runs in this Python."""
    return Peer([sys.executable, str(PROGRAMS / file), *words], **fields)


ONEDNN_AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2"}
PYTORCH_AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
PEERS = {
    "pytorch": python_peer(
        "pytorch_vgg.py",
        needs=("torch",),
        modes=("eager", "channels_last", "compile", "compile+channels_last"),
        avx2=ONEDNN_AVX2 | PYTORCH_AVX2,
    ),
    "tensorflow": python_peer(
        "tensorflow_vgg.py",
        needs=("tensorflow",),
        modes=("graph", "xla"),
        avx2=ONEDNN_AVX2 | {"XLA_FLAGS": "--xla_cpu_max_isa=AVX2"},
    ),
    "openvino": python_peer(
        "onnx_openvino.py", "openvino", needs=("openvino", "onnx"), avx2=ONEDNN_AVX2
    ),
    "onnxruntime": python_peer("onnx_openvino.py", "onnxruntime", needs=("onnxruntime", "onnx")),
    "burn": rust_peer("burn"),
    "candle": rust_peer("candle"),
}


class LeftOut(Exception):
    """Why a program does not take part."""


@dataclass
class Row:
    """What one program in one mode did for one work in one precision."""

    work: str
    precision: str
    batch_size: int
    peer: str
    mode: str
    program: str = ""
    left_out: str = ""
    rounds: list = field(default_factory=list)  # of each round: median, min, max in milliseconds

    def figures(self):
        """The median of the rounds' medians, and the extremes of all steps."""
        return {
            "median": statistics.median(turn["median"] for turn in self.rounds),
            "min": min(turn["min"] for turn in self.rounds),
            "max": max(turn["max"] for turn in self.rounds),
        }


class Ours:
    """`vgg bench`, started anew for every turn."""

    def __init__(self, row, options):
        self.row, self.options = row, options
        self.work = "train" if row.work == "train" else "predict"
        self.program = options.vgg.resolve()
        if not self.program.is_file():
            raise LeftOut(f"not built: {self.program} is not there; cargo build --release")
        version = subprocess.run([self.program, "--version"], capture_output=True, text=True, check=True)
        row.program = version.stdout.strip()

    def turn(self, seconds):
        """The spread of one turn."""
        options = self.options
        size, threads = str(options.image_size), str(options.threads)
        words = ["bench", self.work, "--json", "--arch", options.arch, "--head", options.head]
        words += ["--height", size, "--width", size, "--channels", str(options.channels)]
        words += ["--batch-size", str(self.row.batch_size), "--precision", self.row.precision]
        words += ["--threads", threads, "--seconds", str(seconds)]
        cap = environment(options, {"VGG_MAX_ISA": options.max_isa})
        run = subprocess.run([self.program, *words], capture_output=True, text=True, env=cap)
        if run.returncode != 0:
            message = first_line(run.stderr)
            raise LeftOut(f"not supported: {message}" if "precision" in message else f"failed: {message}")
        answer = json.loads(run.stdout)
        self.row.mode = answer["tier"]
        return answer["ms_per_step"]

    def close(self):
        """Nothing is left running."""


class Worker:
    """A peer's process, which keeps its network from turn to turn; `peers/measured.py` describes the talk."""

    def __init__(self, row, options):
        peer = PEERS[row.peer]
        check_installed(peer, options)
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [*peer.command, json.dumps(case(row, options))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env=environment(options, peer.avx2),
        )
        try:
            row.program = self.answer()["program"]
        except LeftOut:
            self.close()
            raise

    def turn(self, seconds):
        """The spread of one turn."""
        with contextlib.suppress(BrokenPipeError):
            print(seconds, file=self.process.stdin, flush=True)
        times = self.answer()["ms"]
        return {"median": statistics.median(times), "min": min(times), "max": max(times)}

    def answer(self):
        """The next answer; other lines on the peer's standard output are passed over."""
        for line in self.process.stdout:
            if line.startswith("{"):
                answer = json.loads(line)
                if "unsupported" in answer:
                    raise LeftOut(f"not supported: {answer['unsupported']}")
                return answer
        self.errors.seek(0)
        raise LeftOut(f"failed: {last_line(self.errors.read())}")

    def close(self):
        """Ends the process, which stops when its standard input does."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.errors.close()


def check_installed(peer, options):
    """Raises `LeftOut` for a peer that cannot be started or not be capped."""
    if options.max_isa and peer.avx2 is None:
        raise LeftOut(f"cannot be capped to {options.max_isa}")
    missing = [name for name in peer.needs if importlib.util.find_spec(name) is None]
    if missing:
        raise LeftOut(f"not installed: pip install {' '.join(missing)}")
    program = Path(peer.command[0])
    if not program.is_file():
        manifest = PROGRAMS / program.name.removesuffix("_vgg") / "Cargo.toml"
        build = f"cargo build --release --manifest-path {os.path.relpath(manifest)}"
        raise LeftOut(f"not built: RUSTFLAGS='-C target-cpu=native' {build}")


def environment(options, cap):
    """The environment of a measured process: threads, no GPU, few words, and the cap where one is asked for."""
    threads = str(options.threads)
    extra = {
        "OMP_NUM_THREADS": threads,
        "RAYON_NUM_THREADS": threads,
        "CUDA_VISIBLE_DEVICES": "",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    return os.environ | extra | (cap if options.max_isa else {})


def case(row, options):
    """What a peer is told of the work."""
    return {
        "work": "train" if row.work == "train" else "predict",
        "precision": row.precision,
        "mode": row.mode,
        "batch_size": row.batch_size,
        "threads": options.threads,
        "image_size": options.image_size,
        "channels": options.channels,
        "classes": CLASSES,
        "layers": layers(options.arch, options.head),
    }


def layers(arch, head):
    """The network, layer by layer: a convolution is 3x3, every layer with weights but the last ends in ReLU."""
    network = []
    for convolutions, channels in zip(CONVOLUTIONS[arch], STAGE_CHANNELS):
        network += [{"kind": "convolution", "outputs": channels}] * convolutions + [{"kind": "pool"}]
    for value in (*HEADS[head], CLASSES):
        rate = isinstance(value, float)
        network.append({"kind": "dropout", "rate": value} if rate else {"kind": "dense", "outputs": value})
    return network


def measure(work, precision, options):
    """All programs on one work in one precision, taking turns; one row for each program and mode."""
    batch_size = 1 if work == "single" else options.batch_size
    names = [("vgg", "")]
    for peer in options.peers:
        modes = getattr(options, f"{peer}_modes", PEERS[peer].modes)
        names += [(peer, mode) for mode in modes]
    rows = [Row(work, precision, batch_size, peer, mode) for peer, mode in names]
    running = []
    try:
        for row in rows:
            running.append(start(row, options))
        for _ in range(options.rounds):
            for row, program in zip(rows, running):
                take_turn(row, program, options.seconds)
    finally:
        for program in filter(None, running):
            program.close()
    return rows


def start(row, options):
    """The row's program, ready to be measured, or nothing and the reason in the row."""
    try:
        program = Ours(row, options) if row.peer == "vgg" else Worker(row, options)
    except LeftOut as reason:
        leave_out(row, reason)
        return None
    note(row, f"{row.program} is ready")
    return program


def take_turn(row, program, seconds):
    """Measures the row's program once, unless it is left out."""
    if row.left_out:
        return
    try:
        row.rounds.append(program.turn(seconds))
    except LeftOut as reason:
        leave_out(row, reason)
    else:
        note(row, f"{row.rounds[-1]['median']:.2f} ms")


def leave_out(row, reason):
    """Notes why the row has no figures."""
    row.left_out = str(reason)
    row.rounds.clear()
    note(row, reason)


def note(row, text):
    """Tells on standard error how far the measurement is."""
    print(" ".join(filter(None, (row.work, row.precision, row.peer, row.mode))) + f": {text}", file=sys.stderr)


def table(rows):
    """The rows of one work and precision as a markdown table, and below it who was left out, and why."""
    measured = [row for row in rows if row.rounds]
    ours = next((row.figures()["median"] for row in measured if row.peer == "vgg"), None)
    lines = ["| program | mode | median ms | min | max | times ours |", "|---|---|---:|---:|---:|---:|"]
    for row in measured:
        figures = row.figures()
        rivals = [other.figures()["median"] for other in measured if other.peer == row.peer]
        best = " (best)" if len(rivals) > 1 and figures["median"] == min(rivals) else ""
        ratio = f"{figures['median'] / ours:.2f}" if ours else ""
        spread = " | ".join(f"{figures[name]:.2f}" for name in ("median", "min", "max"))
        lines.append(f"| {row.program} | {row.mode}{best} | {spread} | {ratio} |")
    return "\n".join(lines + reasons(rows))


def reasons(rows):
    """A list of who was left out, and why: one item for all modes of a program with the same reason."""
    modes = {}
    for row in rows:
        if row.left_out:
            modes.setdefault((row.peer, row.left_out), []).append(row.mode)
    items = [f"* {peer} {', '.join(filter(None, names))}".rstrip() + f": {why}" for (peer, why), names in modes.items()]
    return [""] * bool(items) + items


def heading(options):
    """What is measured, and on which machine."""
    shape = f"{options.image_size}x{options.image_size}x{options.channels}"
    cap = f", everything capped to {options.max_isa}" if options.max_isa else ""
    return (
        f"{options.arch} with the {options.head} head on {shape} pictures, {options.threads} threads{cap}; "
        f"{processor()}; {options.rounds} rounds of {options.seconds:g} s."
    )


def as_json(rows, options):
    """Everything that was measured."""
    ours = {(row.work, row.precision): row.figures()["median"] for row in rows if row.peer == "vgg" and row.rounds}
    results = []
    for row in rows:
        figures, base = row.figures() if row.rounds else None, ours.get((row.work, row.precision))
        ratio = figures["median"] / base if figures and base else None
        results.append(vars(row) | {"ms_per_step": figures, "ratio_to_ours": ratio})
    settings = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}
    return {"processor": processor(), "options": settings, "results": results}


def processor():
    """The processor's name and its number of cores."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return f"{line.split(':')[1].strip()}, {os.cpu_count()} cores"
    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def first_line(text):
    """The first line that says something, without the program's `error: `."""
    return next((line.removeprefix("error: ") for line in text.splitlines() if line.strip()), "no message")


def last_line(text):
    """The last line that says something: where a traceback names its cause."""
    return next((line.strip()[:200] for line in reversed(text.splitlines()) if line.strip()), "no message")


def names_of(known):
    """An argument type: a list of known names, separated by commas."""

    def parse(text):
        names = text.split(",")
        unknown = [name for name in names if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"no {', '.join(unknown)}; choose from {', '.join(known)}")
        return names

    return parse


def parse_options():
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    list_options = {
        "--works": (list(WORKS), "what to measure"),
        "--precisions": (["f32", "bf16"], "formats of the operands"),
        "--peers": (list(PEERS), "programs to compare with"),
        "--pytorch-modes": (list(PEERS["pytorch"].modes), "ways to run PyTorch; all are shown, the best is marked"),
        "--tensorflow-modes": (list(PEERS["tensorflow"].modes), "ways to run TensorFlow"),
    }
    for name, (known, text) in list_options.items():
        parser.add_argument(name, type=names_of(known), default=known, help=f"{text}: {','.join(known)}")
    parser.add_argument("--arch", choices=CONVOLUTIONS, default="vgg13")
    parser.add_argument("--head", choices=HEADS, default="tutorial")
    parser.add_argument("--image-size", type=int, default=28, metavar="N", help="rows and columns of a picture")
    parser.add_argument("--channels", type=int, default=1, metavar="N")
    parser.add_argument("--batch-size", type=int, default=100, metavar="N", help="of train and predict")
    parser.add_argument("--threads", type=int, default=2, metavar="N")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="turns of every program")
    parser.add_argument("--seconds", type=float, default=3.0, metavar="X", help="length of a turn")
    parser.add_argument("--max-isa", choices=["avx2"], help="cap every program; one that cannot be is left out")
    default = SCRIPTS.parent / "target" / "release" / "vgg"
    parser.add_argument("--vgg", type=Path, default=default, metavar="PATH", help="default: target/release/vgg")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured")
    return parser.parse_args()


def main():
    """Measures, prints each table when it is done, and writes the JSON file."""
    options = parse_options()
    print(heading(options), flush=True)
    rows = []
    for work in options.works:
        for precision in options.precisions:
            group = measure(work, precision, options)
            title = f"**{WORKS[work]}, batch {group[0].batch_size}, {precision}**"
            print(f"\n{title}\n\n{table(group)}", flush=True)
            rows += group
            if options.json:
                options.json.write_text(json.dumps(as_json(rows, options), indent=1) + "\n")


if __name__ == "__main__":
    main()
