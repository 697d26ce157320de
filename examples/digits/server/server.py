#!/usr/bin/env python3
"""Serve one ONNX model over the Open Inference Protocol v2, on KServe's Python server.

Reads `model.onnx` (and `labels/classes.txt`, if there) below --model_dir once, before it listens;
it never writes, never fetches, and leaves every question of trust to whoever filled the directory.
"""

import argparse
import pathlib
import sys
import uuid

import kserve
import numpy as np
import onnxruntime
from kserve.errors import InvalidInput

# What ONNX calls a tensor's type, and what the protocol calls it.
DATATYPES = {"tensor(float)": "FP32", "tensor(double)": "FP64", "tensor(int64)": "INT64"}


class OnnxModel(kserve.Model):
    """An ONNX graph behind the protocol: inputs and outputs keep the names the graph gives them.

    With `labels/classes.txt` (one class a line) the answer also has `label`: the class with the
    highest score in the graph's first output.
    """

    def __init__(self, name, directory, threads):
        super().__init__(name)
        self.directory = pathlib.Path(directory)
        self.threads = threads

    def load(self):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        self.session = onnxruntime.InferenceSession(
            str(self.directory / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self.inputs = [describe(tensor) for tensor in self.session.get_inputs()]
        self.outputs = [describe(tensor) for tensor in self.session.get_outputs()]
        labels = self.directory / "labels" / "classes.txt"
        self.labels = np.array(labels.read_text().splitlines()) if labels.exists() else None
        self.ready = True
        return self.ready

    def get_input_types(self):
        return self.inputs

    def get_output_types(self):
        return self.outputs

    def predict(self, payload, headers=None):
        if not isinstance(payload, kserve.InferRequest):
            raise InvalidInput("this server speaks the Open Inference Protocol v2 only")
        expected = {tensor["name"]: tensor["datatype"] for tensor in self.inputs}
        given = {tensor.name: tensor for tensor in payload.inputs}
        if {name: tensor.datatype for name, tensor in given.items()} != expected:
            raise InvalidInput(f"the model's inputs are {expected}")
        try:
            arrays = {name: tensor.as_numpy() for name, tensor in given.items()}
            # Infinity in, nonsense out: every score becomes NaN and the first class "wins".
            if not all(np.isfinite(array).all() for array in arrays.values()):
                raise ValueError("not every number is finite")
            results = self.session.run(None, arrays)
        except Exception as error:  # a wrong shape is an exception of numpy's or the runtime's own
            raise InvalidInput(f"the model does not take this input: {error}") from error
        answer = [
            output(tensor["name"], tensor["datatype"], result)
            for tensor, result in zip(self.outputs, results)
        ]
        if self.labels is not None:
            answer.append(output("label", "BYTES", self.labels[results[0].argmax(-1)]))
        # A request need not have an id, KServe's answer must.
        return kserve.InferResponse(
            payload.id or str(uuid.uuid4()),
            self.name,
            answer,
            requested_outputs=payload.request_outputs,
        )


def describe(tensor):
    """A tensor of the graph in the protocol's words; an open dimension is -1 there."""
    if tensor.type not in DATATYPES:
        raise ValueError(f"{tensor.name} is a {tensor.type}; this server knows {list(DATATYPES)}")
    shape = [size if isinstance(size, int) else -1 for size in tensor.shape]
    return {"name": tensor.name, "datatype": DATATYPES[tensor.type], "shape": shape}


def output(name, datatype, values):
    return kserve.InferOutput(name, list(values.shape), datatype, values.reshape(-1).tolist())


def main():
    # KServe's own arguments (--model_name, --http_port, …) and two of ours.
    parser = argparse.ArgumentParser(
        parents=[kserve.model_server.parser], conflict_handler="resolve"
    )
    parser.add_argument("--model_dir", required=True, help="directory that holds model.onnx")
    parser.add_argument("--threads", type=int, default=1, help="threads of one inference")
    parser.set_defaults(enable_grpc=False)
    arguments = parser.parse_args()

    model = OnnxModel(arguments.model_name, arguments.model_dir, arguments.threads)
    try:
        model.load()
    except Exception as error:
        sys.exit(f"cannot load a model from {model.directory}: {error}")
    kserve.ModelServer(
        http_port=arguments.http_port, enable_grpc=arguments.enable_grpc
    ).start([model])


if __name__ == "__main__":
    main()
