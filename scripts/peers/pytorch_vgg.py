"""PyTorch as a peer of `peers.py`. Modes: eager, channels_last, compile, compile+channels_last.

Training in bf16 is autocast over f32 weights; prediction in bf16 converts the weights once, and compiled prediction
freezes them (both are faster than autocast).
"""

import torch
from torch import nn
from torch._inductor import config as inductor

from measured import serve


def network(case):
    """The layers of the case; every one with weights but the last ends in ReLU."""
    layers, inputs, size, dense = [], case["channels"], case["image_size"], False
    for layer in case["layers"]:
        kind = layer["kind"]
        if kind == "convolution":
            layers += [nn.Conv2d(inputs, layer["outputs"], 3, padding=1), nn.ReLU(inplace=True)]
            inputs = layer["outputs"]
        elif kind == "pool":
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
            size = (size + 1) // 2
        elif kind == "dropout":
            layers.append(nn.Dropout(layer["rate"]))
        else:
            if not dense:
                layers.append(nn.Flatten())
                inputs, dense = inputs * size * size, True
            layers += [nn.Linear(inputs, layer["outputs"]), nn.ReLU(inplace=True)]
            inputs = layer["outputs"]
    return nn.Sequential(*layers[:-1])


def training_step(case, model, forward, images):
    """Forward with dropout, backward, plain SGD."""
    labels = torch.randint(0, case["classes"], (case["batch_size"],))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001)

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=case["precision"] == "bf16"):
            loss = nn.functional.cross_entropy(forward(images), labels)
        loss.backward()
        optimizer.step()

    return step


def prediction_step(precision, forward, images):
    """Forward alone, from f32 pictures."""

    def step():
        with torch.no_grad():
            forward(images.to(precision)).float()

    return step


def prepare(case):
    """The name of the program and one step of the case."""
    torch.set_num_threads(case["threads"])
    torch.manual_seed(0)
    training = case["work"] == "train"
    model = network(case).train(training)
    images = torch.rand(case["batch_size"], case["channels"], case["image_size"], case["image_size"])
    precision = torch.bfloat16 if case["precision"] == "bf16" and not training else torch.float32
    model = model.to(precision)
    if "channels_last" in case["mode"]:
        model = model.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
    inductor.freezing = not training
    forward = torch.compile(model) if "compile" in case["mode"] else model
    program = f"PyTorch {torch.__version__}"
    if training:
        return program, training_step(case, model, forward, images)
    return program, prediction_step(precision, forward, images)


if __name__ == "__main__":
    serve(prepare)
