"""ONNX Runtime and OpenVINO as peers of `peers.py`: prediction with one ONNX model of random weights.

The first argument names the program: onnxruntime, or openvino (performance hint LATENCY, inference precision f32 or
bf16).
"""

import os
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from measured import Unsupported, serve


class Graph:
    """An ONNX graph that grows by one node at a time."""

    def __init__(self):
        self.nodes, self.weights, self.last = [], [], "images"
        self.random = np.random.default_rng(0)

    def add(self, operation, *weight_shapes, **attributes):
        """Adds a node that takes the last one's output and new weights of these shapes."""
        name, inputs = f"node{len(self.nodes)}", [self.last]
        for shape in weight_shapes:
            fan_in = max(1, int(np.prod(shape[1:])))
            values = self.random.standard_normal(shape, np.float32) * np.float32((2 / fan_in) ** 0.5)
            inputs.append(f"{name}_{len(inputs)}")
            self.weights.append(numpy_helper.from_array(values, inputs[-1]))
        self.nodes.append(helper.make_node(operation, inputs, [name], **attributes))
        self.last = name


def model(case):
    """The network of the case as an ONNX model; every layer with weights but the last ends in ReLU."""
    graph, inputs, size, dense = Graph(), case["channels"], case["image_size"], False
    for at, layer in enumerate(case["layers"]):
        kind, outputs = layer["kind"], layer.get("outputs")
        if kind == "convolution":
            graph.add("Conv", (outputs, inputs, 3, 3), (outputs,), pads=[1, 1, 1, 1])
        elif kind == "pool":
            graph.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
            size = (size + 1) // 2
        elif kind == "dense":
            if not dense:
                graph.add("Flatten")
                inputs, dense = inputs * size * size, True
            graph.add("Gemm", (outputs, inputs), (outputs,), transB=1)
        if outputs:
            inputs = outputs
            if at + 1 < len(case["layers"]):
                graph.add("Relu")
    shape = [case["batch_size"], case["channels"], case["image_size"], case["image_size"]]
    ends = [
        helper.make_tensor_value_info("images", TensorProto.FLOAT, shape),
        helper.make_tensor_value_info(graph.last, TensorProto.FLOAT, [shape[0], case["classes"]]),
    ]
    parts = helper.make_graph(graph.nodes, "vgg", ends[:1], ends[1:], graph.weights)
    return helper.make_model(parts, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def onnxruntime_step(case, path, images):
    """The name of ONNX Runtime and a prediction by it."""
    import onnxruntime

    if case["precision"] != "f32":
        raise Unsupported("its CPU kernels for x86 have no bf16")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = case["threads"]
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return f"ONNX Runtime {onnxruntime.__version__}", lambda: session.run(None, {"images": images})


def openvino_step(case, path, images):
    """The name of OpenVINO and a prediction by it."""
    import openvino

    core = openvino.Core()
    abilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if case["precision"] == "bf16" and "BF16" not in abilities:
        raise Unsupported("it takes no bf16 on this processor")
    settings = {
        "INFERENCE_PRECISION_HINT": case["precision"],
        "INFERENCE_NUM_THREADS": case["threads"],
        "PERFORMANCE_HINT": "LATENCY",
    }
    request = core.compile_model(path, "CPU", settings).create_infer_request()
    return f"OpenVINO {openvino.__version__.split('-')[0]}", lambda: request.infer({0: images})


def prepare(case):
    """The name of the program and one step of the case."""
    if case["work"] == "train":
        raise Unsupported("it does not train")
    make_step = {"onnxruntime": onnxruntime_step, "openvino": openvino_step}[sys.argv[1]]
    size = case["image_size"]
    images = np.random.default_rng(1).random((case["batch_size"], case["channels"], size, size), np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "vgg.onnx")
        onnx.save(model(case), path)
        return make_step(case, path, images)


if __name__ == "__main__":
    serve(prepare)
