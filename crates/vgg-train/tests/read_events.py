"""Prints as JSON what TensorBoard's package reads of a model directory, in both ways that it has."""

import json
import struct
import sys

from tensorboard.backend.event_processing import plugin_event_multiplexer
from tensorboard.backend.event_processing import event_multiplexer
from tensorboard.util import tensor_util


def number(run, tag, step, value):
    name = tag if run == "." else f"{run}/{tag}"
    return {"tag": name, "step": step, "bits": struct.unpack("<I", struct.pack("<f", value))[0]}


def main():
    everything = {"scalars": 0, "images": 0, "tensors": 0}
    # The way of versions before 1.14: numbers as they are in the file.
    old = event_multiplexer.EventMultiplexer(size_guidance=everything)
    # The way since then: numbers become tensors when they are read.
    new = plugin_event_multiplexer.EventMultiplexer(tensor_size_guidance={"scalars": 0, "images": 0})
    for reader in (old, new):
        reader.AddRunsFromDirectory(sys.argv[1])
        reader.Reload()
    found = {"scalars": [], "tensors": [], "speeds": [], "pictures": []}
    for run, tags in old.Runs().items():
        for tag in tags["scalars"]:
            for event in old.Scalars(run, tag):
                if tag == "global_step/sec":
                    found["speeds"].append(event.step)
                else:
                    found["scalars"].append(number(run, tag, event.step, event.value))
        for tag in tags["images"]:
            for event in old.Images(run, tag):
                found["pictures"].append(
                    {"tag": tag, "step": event.step, "width": event.width, "height": event.height}
                )
    for run in new.Runs():
        for tag in new.PluginRunToTagToContent("scalars").get(run, {}):
            for event in new.Tensors(run, tag) if tag != "global_step/sec" else []:
                value = float(tensor_util.make_ndarray(event.tensor_proto))
                found["tensors"].append(number(run, tag, event.step, value))
    json.dump(found, sys.stdout)


main()
