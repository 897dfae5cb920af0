#!/usr/bin/env python3
"""Golden numbers for the tutorial's VGG13, computed by PyTorch.

    python make_golden.py MNIST_FOLDER

MNIST_FOLDER holds the four public .gz files. The script writes golden.json beside itself.

The network runs on the CPU from the same float32 weights and pictures: once in float64, which gives
the reference values, and in float32 by several of PyTorch's own methods (see `F32_METHODS`), which
show how far an honest float32 run may stray. Dropout is switched off. The weights are a formula
(see `formula_values`), so nothing big is stored.
"""

import gzip
import json
import math
import struct
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

BATCH = 20
SAMPLES = 48
PROJECTIONS = 4
STEPS = 10
LEARNING_RATE = 0.01
BIAS_BOUND = 0.05
LAST_DENSE_FACTOR = 0.1
LAST_DENSE = "classifier.7"
THREADS = 2

MULTIPLY_ELEMENT = 0x9E3779B9
MULTIPLY_PARAMETER = 0x85EBCA6B
OFFSET_WEIGHTS = 0x1234567
OFFSET_SIGNS = 0x51ED270B
# Sample indices use the same formula with parameter numbers that no parameter has.
ACTIVATION_STREAM = 1000
GRADIENT_STREAM = 2000

# Ways to compute the same convolutions in float32: (oneDNN, NNPACK, memory format). NNPACK's
# transforms (Winograd, FFT) round more than direct sums do.
F32_METHODS = {
    "default": (True, True, torch.contiguous_format),
    "channels_last": (True, True, torch.channels_last),
    "native": (False, False, torch.contiguous_format),
    "nnpack": (False, True, torch.contiguous_format),
}


def fmix32(values):
    """Murmur3's 32-bit finaliser, element by element, on a uint32 array."""
    h = values.astype(np.uint32)
    h ^= h >> np.uint32(16)
    h *= np.uint32(0x85EBCA6B)
    h ^= h >> np.uint32(13)
    h *= np.uint32(0xC2B2AE35)
    h ^= h >> np.uint32(16)
    return h


def hash_of(stream, count):
    """fmix32((e * 0x9E3779B9 + stream * 0x85EBCA6B + 0x1234567) mod 2^32) for e in 0..count."""
    e = np.arange(count, dtype=np.uint64)
    start = np.uint64((stream * MULTIPLY_PARAMETER + OFFSET_WEIGHTS) % 2**32)
    mixed = (e * np.uint64(MULTIPLY_ELEMENT) + start) & np.uint64(0xFFFFFFFF)
    return fmix32(mixed.astype(np.uint32))


def formula_values(number, count, bound):
    """The float32 values of parameter `number`: 24 hash bits, centred, times a rounded scale."""
    centred = (hash_of(number, count) >> np.uint32(8)).astype(np.int32) - 2**23
    scale = np.float32(bound / 2**23)
    return centred.astype(np.float32) * scale


def parameter_bound(name, shape):
    """He-uniform bound for weights, a constant for biases; the last dense layer is made smaller."""
    bound = math.sqrt(6.0 / math.prod(shape[1:])) if name.endswith(".weight") else BIAS_BOUND
    return bound * LAST_DENSE_FACTOR if name.startswith(LAST_DENSE + ".") else bound


def sample_indices(stream, count):
    """At most SAMPLES distinct flat indices into a tensor of `count` elements, in rising order."""
    if count <= SAMPLES:
        return np.arange(count)
    drawn = hash_of(stream, 16 * SAMPLES).astype(np.uint64) % np.uint64(count)
    _, first = np.unique(drawn, return_index=True)
    return np.sort(drawn[np.sort(first)[:SAMPLES]]).astype(np.int64)


class Vgg13(nn.Module):
    """28x28x1, ten 3x3 convolutions in five blocks, then dense 4096, 4096, 1000 and 10."""

    def __init__(self):
        super().__init__()
        layers, channels = [], 1
        for width in (64, 128, 256, 512, 512):
            for _ in range(2):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(2, 2, ceil_mode=True))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(512, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(),
            nn.Linear(4096, 1000), nn.ReLU(), nn.Dropout(0.0), nn.Linear(1000, 10),
        )

    def forward(self, pictures):
        return self.classifier(torch.flatten(self.features(pictures), 1))


def build(dtype):
    """The network with the formula's weights, converted exactly from float32 to `dtype`."""
    network = Vgg13()
    with torch.no_grad():
        for number, (name, parameter) in enumerate(network.named_parameters()):
            bound = parameter_bound(name, parameter.shape)
            values = formula_values(number, parameter.numel(), bound)
            parameter.copy_(torch.from_numpy(values).reshape(parameter.shape))
    return network.to(dtype)


def read_idx(path, magic, dimensions):
    """One gzipped IDX file of unsigned bytes."""
    data = gzip.decompress(path.read_bytes())
    found, *shape = struct.unpack(f">{1 + dimensions}I", data[: 4 * (1 + dimensions)])
    if found != magic:
        raise ValueError(f"{path}: magic number {found}, expected {magic}; is this an MNIST file?")
    return np.frombuffer(data, np.uint8, offset=4 * (1 + dimensions)).reshape(shape)


def first_batch(folder):
    """The first BATCH pictures of the 60,000 training file as float32 in 0..1, and their labels."""
    pictures = read_idx(folder / "train-images-idx3-ubyte.gz", 2051, 3)[:BATCH]
    labels = read_idx(folder / "train-labels-idx1-ubyte.gz", 2049, 1)[:BATCH]
    pixels = pictures.astype(np.float32) / np.float32(255)
    return torch.from_numpy(pixels).unsqueeze(1), torch.from_numpy(labels.astype(np.int64))


def is_recorded(module):
    """ReLU and pool outputs, and those of dense layers before their ReLU (the last: the logits)."""
    return isinstance(module, (nn.ReLU, nn.MaxPool2d, nn.Linear))


def forward_backward(network, pictures, labels):
    """Activations by module name, the loss, and gradients by parameter name, as float64 arrays."""
    activations, hooks = {}, []
    for name, module in network.named_modules():
        if is_recorded(module):
            def keep(_module, _inputs, output, name=name):
                activations[name] = output.detach().double().numpy()
            hooks.append(module.register_forward_hook(keep))
    network.zero_grad()
    loss = F.cross_entropy(network(pictures), labels)
    loss.backward()
    for hook in hooks:
        hook.remove()
    gradients = {name: p.grad.double().numpy() for name, p in network.named_parameters()}
    return activations, loss.item(), gradients


def sgd_losses(network, pictures, labels):
    """The loss before each of STEPS plain SGD updates on one batch, and after the last."""
    optimizer = torch.optim.SGD(network.parameters(), lr=LEARNING_RATE)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = F.cross_entropy(network(pictures), labels)
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        losses.append(F.cross_entropy(network(pictures), labels).item())
    return losses


def projections(values):
    """Sums of all elements under PROJECTIONS sets of pseudo-random signs."""
    e = np.arange(values.size, dtype=np.uint64) + np.uint64(OFFSET_SIGNS)
    bits = fmix32((e & np.uint64(0xFFFFFFFF)).astype(np.uint32))
    signs = [np.where((bits >> np.uint32(p)) & np.uint32(1), 1.0, -1.0) for p in range(PROJECTIONS)]
    return [math.fsum(values * sign) for sign in signs]


def l2_norm(values):
    return math.sqrt(math.fsum(values * values))


def differences(single, double):
    """How far PyTorch's float32 strays from its float64, over all elements of one tensor."""
    error = np.abs(single - double)
    return {
        "max_absolute": float(error.max()),
        "max_over_max_magnitude": float(error.max() / np.abs(double).max()),
        "l2": l2_norm(error) / l2_norm(double),
    }


def sampled(stream, single, double):
    """Shape, norm, sampled elements in both precisions, and the differences over all elements."""
    flat32, flat64 = single.ravel(), double.ravel()
    indices = sample_indices(stream, flat64.size)
    return {
        "shape": list(double.shape),
        "l2": l2_norm(flat64),
        "indices": indices.tolist(),
        "values": flat64[indices].tolist(),
        "values_f32": flat32[indices].tolist(),
        "f32_difference": differences(flat32, flat64),
    }


def activation_record(number, single, double):
    """What is kept of one module's output; `mean` differences are relative."""
    record = sampled(ACTIVATION_STREAM + number, single, double)
    record["mean"] = math.fsum(double.ravel()) / double.size
    mean32 = math.fsum(single.ravel()) / single.size
    record["f32_difference"]["mean"] = abs(mean32 / record["mean"] - 1)
    return record


def gradient_record(number, single, double):
    """What is kept of one parameter's gradient.

    Sums of mixed signs may nearly cancel, so their differences are relative to the L2 norm.
    """
    record = sampled(GRADIENT_STREAM + number, single, double)
    single, double = single.ravel(), double.ravel()
    record["sum"] = math.fsum(double)
    record["projections"] = projections(double)
    difference = record["f32_difference"]
    difference["sum_over_l2"] = abs(math.fsum(single) - record["sum"]) / record["l2"]
    difference["projection_over_l2"] = max(
        abs(s - d) / record["l2"] for s, d in zip(projections(single), record["projections"])
    )
    return record


def parameter_record(number, name, shape):
    """Bound and first values of one parameter, so that a reader can check the formula by itself."""
    bound = parameter_bound(name, shape)
    first = formula_values(number, min(4, math.prod(shape)), bound)
    return {"shape": list(shape), "bound": bound, "first_values": first.tolist()}


def worst(records):
    """The largest value of each difference over a group of records."""
    records = list(records)
    return {key: max(record[key] for record in records) for key in records[0]}


def run_f32(method, pictures, labels):
    """Activations, loss, gradients and SGD losses in float32 by one of F32_METHODS."""
    onednn, nnpack, memory_format = F32_METHODS[method]
    with torch.backends.mkldnn.flags(enabled=onednn), torch.backends.nnpack.flags(enabled=nnpack):
        network = build(torch.float32).to(memory_format=memory_format)
        pictures = pictures.to(memory_format=memory_format)
        return *forward_backward(network, pictures, labels), sgd_losses(network, pictures, labels)


def method_record(single, double):
    """The largest differences of one float32 method from float64, over all tensors and steps."""
    def over_tensors(position):
        return worst(
            differences(single[position][name].ravel(), values.ravel())
            for name, values in double[position].items()
        )

    return {
        "activations": over_tensors(0),
        "loss": abs(single[1] / double[1] - 1),
        "gradients": over_tensors(2),
        "sgd_losses": [abs(s / d - 1) for s, d in zip(single[3], double[3])],
    }


def to_json(golden):
    """JSON with one line per record. Python writes floats so that they read back exactly."""
    def compact(value):
        return json.dumps(value, separators=(",", ":"), allow_nan=False)

    def section(value):
        if not isinstance(value, dict):
            return compact(value)
        return "{\n" + ",\n".join(f"{compact(k)}:{compact(v)}" for k, v in value.items()) + "\n}"

    return "{\n" + ",\n".join(f"{compact(k)}:{section(v)}" for k, v in golden.items()) + "\n}\n"


def make_golden(pictures, labels):
    """Everything that golden.json holds."""
    network = build(torch.float64)
    double = *forward_backward(network, pictures.double(), labels), sgd_losses(
        network, pictures.double(), labels
    )
    runs = {method: run_f32(method, pictures, labels) for method in F32_METHODS}
    single = runs["default"]
    return {
        "torch_version": torch.__version__,
        "batch": BATCH,
        "labels": labels.tolist(),
        "parameters": {
            name: parameter_record(number, name, parameter.shape)
            for number, (name, parameter) in enumerate(network.named_parameters())
        },
        "loss": {"f64": double[1], "f32": single[1]},
        "activations": {
            name: activation_record(number, single[0][name], double[0][name])
            for number, name in enumerate(double[0])
        },
        "gradients": {
            name: gradient_record(number, single[2][name], double[2][name])
            for number, name in enumerate(double[2])
        },
        "sgd": {"learning_rate": LEARNING_RATE, "f64": double[3], "f32": single[3]},
        "f32_worst_difference": {
            method: method_record(run, double) for method, run in runs.items()
        },
    }


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    warnings.filterwarnings("ignore", message="TF32 acceleration")
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    golden = make_golden(*first_batch(Path(sys.argv[1])))
    target = Path(__file__).with_name("golden.json")
    target.write_text(to_json(golden))
    print(to_json({key: golden[key] for key in ("loss", "sgd", "f32_worst_difference")}))
    print(f"{target}: {target.stat().st_size} bytes, torch {torch.__version__}")


if __name__ == "__main__":
    main()
