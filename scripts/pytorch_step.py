"""Times PyTorch on the work of `vgg bench train`, to compare the two on one machine.

The tutorial's VGG13 on random 28x28x1 pictures: forward with dropout, backward, plain SGD.

    pip install torch
    python scripts/pytorch_step.py [--batch-size 100] [--threads 2] [--bf16] [--predict]
"""

import argparse
import statistics
import time

import torch
from torch import nn

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--batch-size", type=int, default=100)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--steps", type=int, default=12)
parser.add_argument("--bf16", action="store_true", help="autocast to bfloat16")
parser.add_argument("--predict", action="store_true", help="time the forward pass alone")
options = parser.parse_args()


def vgg13() -> nn.Sequential:
    layers, channels = [], 1
    for width in (64, 128, 256, 512, 512):
        for _ in range(2):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
            channels = width
        layers.append(nn.MaxPool2d(2, ceil_mode=True))
    layers.append(nn.Flatten())
    for inputs, outputs in ((512, 4096), (4096, 4096), (4096, 1000)):
        layers += [nn.Linear(inputs, outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Dropout(0.4), nn.Linear(1000, 10))


torch.set_num_threads(options.threads)
torch.manual_seed(0)
model = vgg13().train(not options.predict)
images = torch.rand(options.batch_size, 1, 28, 28)
labels = torch.randint(0, 10, (options.batch_size,))
optimizer = torch.optim.SGD(model.parameters(), lr=0.001)


def step() -> None:
    with torch.autocast("cpu", torch.bfloat16, enabled=options.bf16):
        if options.predict:
            with torch.inference_mode():
                model(images)
            return
        loss = nn.functional.cross_entropy(model(images), labels)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


for _ in range(3):
    step()
times = []
for _ in range(options.steps):
    before = time.perf_counter()
    step()
    times.append((time.perf_counter() - before) * 1e3)
work = "prediction" if options.predict else "training"
precision = "bf16" if options.bf16 else "f32"
print(f"PyTorch {torch.__version__}, {work}, {precision}, batches of {options.batch_size}, {options.threads} threads")
print(f"ms per step {statistics.median(times):.1f} median, {min(times):.1f} to {max(times):.1f}")
