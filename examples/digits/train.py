#!/usr/bin/env python3
"""Train the demo's digit classifier and write it down as ONNX, with the samples the demo sends.

Reads nothing but scikit-learn's bundled digits and writes only below this directory; it never
signs or pushes, and nothing at run time imports it. `model.onnx` is committed, so this is run by
hand when the model itself is to change. With --adversarial it trains a second model of the same
shape, which an attacker who moves every pixel a little cannot fool as easily.
"""

import argparse
import functools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
from jax import lax
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits

HERE = pathlib.Path(__file__).parent
CLASSES = [str(digit) for digit in range(10)]
SCALE = 16.0  # scikit-learn's pixels are 0..16; the model takes 0..1
HOLD_OUT = 5  # every fifth image of each class is never trained on
EPSILON = 0.2  # how far adversarial training lets every pixel move, of 0..1
STEPS = 10  # steps of the attack that adversarial training trains against


def load():
    """Return ((x, y) to train on, (x, y) held out); x is float32 [n, 1, 8, 8] in 0..1."""
    digits = load_digits()
    x = (digits.images / SCALE).astype(np.float32)[:, None]
    y = digits.target.astype(np.int32)
    position = np.zeros(len(y), dtype=int)
    for digit in range(10):
        position[y == digit] = np.arange((y == digit).sum())
    held_out = position % HOLD_OUT == 0
    return (x[~held_out], y[~held_out]), (x[held_out], y[held_out])


def initial(rng):
    """He-initialised weights, by the names they will have in the graph."""

    def layer(shape, fan_in):
        return jnp.asarray(rng.normal(0, np.sqrt(2 / fan_in), shape), jnp.float32)

    return {
        "conv1.weight": layer((16, 1, 3, 3), 9),
        "conv1.bias": jnp.zeros(16),
        "conv2.weight": layer((32, 16, 3, 3), 16 * 9),
        "conv2.bias": jnp.zeros(32),
        "hidden.weight": layer((32 * 4 * 4, 64), 32 * 4 * 4),
        "hidden.bias": jnp.zeros(64),
        "classes.weight": layer((64, 10), 64),
        "classes.bias": jnp.zeros(10),
    }


def logits(weights, x):
    """The model. `graph` below says the same in ONNX; `main` checks that the two agree."""

    def conv(name, x):
        y = lax.conv_general_dilated(x, weights[f"{name}.weight"], (1, 1), "SAME")
        return jax.nn.relu(y + weights[f"{name}.bias"][None, :, None, None])

    def dense(name, x):
        return x @ weights[f"{name}.weight"] + weights[f"{name}.bias"]

    x = conv("conv2", conv("conv1", x))
    x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
    return dense("classes", jax.nn.relu(dense("hidden", x.reshape(len(x), -1))))


def shifted(rng, x):
    """Each image moved by at most one pixel up, down, left or right: 1,400 images are few."""
    moves = rng.integers(-1, 2, (len(x), 2))
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    return np.stack([p[:, 1 + r : 9 + r, 1 + c : 9 + c] for p, (r, c) in zip(padded, moves)])


def loss(weights, x, y):
    """Cross entropy, averaged."""
    return -jnp.mean(jax.nn.log_softmax(logits(weights, x))[jnp.arange(len(y)), y])


@functools.partial(jax.jit, static_argnames="steps")
def attacked(weights, x, y, start, epsilon, steps):
    """Projected gradient ascent on the loss: images at most `epsilon` from `x` in every pixel, and valid."""

    def step(_, now):
        uphill = jnp.sign(jax.grad(loss, argnums=1)(weights, now, y))
        moved = jnp.clip(now + 2.5 * epsilon / steps * uphill, x - epsilon, x + epsilon)
        return jnp.clip(moved, 0, 1)

    return lax.fori_loop(0, steps, step, jnp.clip(x + epsilon * start, 0, 1))


def train(rng, x, y, epochs, epsilon=0.0, batch=64, rate=2e-3, decay=1e-4):
    """AdamW with a cosine schedule, written out so that no optimiser library is needed.

    With `epsilon`, every batch is attacked first, more strongly from epoch to epoch until half of
    them are over; a model that meets the whole of it at once learns nothing.
    """
    weights = initial(rng)
    mean = {name: jnp.zeros_like(w) for name, w in weights.items()}
    square = dict(mean)
    steps = epochs * (len(x) // batch)

    @jax.jit
    def step(weights, mean, square, t, x, y):
        gradient = jax.grad(loss)(weights, x, y)
        mean = {n: 0.9 * mean[n] + 0.1 * g for n, g in gradient.items()}
        square = {n: 0.999 * square[n] + 0.001 * g * g for n, g in gradient.items()}
        now = rate * 0.5 * (1 + jnp.cos(jnp.pi * t / steps))

        def update(n):
            direction = mean[n] / (1 - 0.9**t) / (jnp.sqrt(square[n] / (1 - 0.999**t)) + 1e-8)
            return weights[n] - now * (direction + decay * weights[n])

        return {n: update(n) for n in weights}, mean, square

    t = 0
    for epoch in range(epochs):
        order = rng.permutation(len(x))
        for at in range(0, len(x) - batch + 1, batch):
            t += 1
            rows = order[at : at + batch]
            images = shifted(rng, x[rows])
            if epsilon:
                start = rng.uniform(-1, 1, images.shape).astype(np.float32)
                now = epsilon * min(1.0, 2 * (epoch + 1) / epochs)
                images = attacked(weights, images, y[rows], start, now, STEPS)
            weights, mean, square = step(weights, mean, square, t, images, y[rows])
    return {name: np.asarray(w) for name, w in weights.items()}


def graph(weights):
    """The trained model as ONNX: few and old operators, so that every runtime can read it."""
    conv = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    pool = {"kernel_shape": [2, 2], "strides": [2, 2]}
    chain = [
        ("Conv", ["image", "conv1.weight", "conv1.bias"], "conv1", conv),
        ("Relu", ["conv1"], "relu1", {}),
        ("Conv", ["relu1", "conv2.weight", "conv2.bias"], "conv2", conv),
        ("Relu", ["conv2"], "relu2", {}),
        ("MaxPool", ["relu2"], "pool", pool),
        ("Flatten", ["pool"], "flat", {"axis": 1}),
        ("Gemm", ["flat", "hidden.weight", "hidden.bias"], "hidden", {}),
        ("Relu", ["hidden"], "relu3", {}),
        ("Gemm", ["relu3", "classes.weight", "classes.bias"], "logits", {}),
        ("Softmax", ["logits"], "probabilities", {"axis": 1}),
    ]

    def tensor(name, *shape):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])

    model = helper.make_model(
        helper.make_graph(
            [helper.make_node(kind, takes, [gives], **how) for kind, takes, gives, how in chain],
            "digits",
            [tensor("image", 1, 8, 8)],
            [tensor("logits", 10), tensor("probabilities", 10)],
            [numpy_helper.from_array(w, name) for name, w in weights.items()],
        ),
        producer_name="probity-digits",
        opset_imports=[helper.make_opsetid("", 13)],
        ir_version=8,
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def samples(x, y):
    """An Open Inference Protocol request: the first held-out image of each class, in class order."""
    first = [int(np.flatnonzero(y == digit)[0]) for digit in range(10)]
    image = x[first]
    return {
        "id": "digits-samples",
        "parameters": {"labels": ",".join(CLASSES[label] for label in y[first])},
        "inputs": [
            {
                "name": "image",
                "shape": list(image.shape),
                "datatype": "FP32",
                "data": [float(pixel) for pixel in image.reshape(-1)],
            }
        ],
    }


def under_attack(weights, x, y, epsilon):
    """The share of images that are read rightly and still are after forty steps of the attack."""
    weights = {name: jnp.asarray(w) for name, w in weights.items()}
    start = np.random.default_rng(0).uniform(-1, 1, x.shape).astype(np.float32)
    worst = attacked(weights, x, y, start, epsilon, 40)
    held = (logits(weights, x).argmax(1) == y) & (logits(weights, worst).argmax(1) == y)
    return round(float(held.mean()), 4)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seed", type=int, default=7)
    arguments.add_argument("--epochs", type=int, default=60)
    arguments.add_argument("--out", type=pathlib.Path, default=HERE)
    arguments.add_argument(
        "--adversarial", action="store_true", help=f"train under attack, ε {EPSILON}; writes robust/"
    )
    arguments = arguments.parse_args()
    epsilon = EPSILON if arguments.adversarial else 0.0

    rng = np.random.default_rng(arguments.seed)
    (x, y), (held_x, held_y) = load()
    weights = train(rng, x, y, arguments.epochs, epsilon)
    model = graph(weights).SerializeToString()

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    scores, chances = session.run(["logits", "probabilities"], {"image": held_x})
    difference = float(np.abs(scores - np.asarray(logits(weights, held_x))).max())
    right = scores.argmax(1) == held_y
    accuracy = float(right.mean())
    worst = min(float(right[held_y == digit].mean()) for digit in range(10))
    print(f"held out: {len(held_y)} images, accuracy {accuracy:.4f}, worst class {worst:.4f}")
    print(f"ONNX against the trained model: largest difference of a logit {difference:.1e}")
    under = {str(e): under_attack(weights, held_x, held_y, e) for e in (0.1, 0.2)}
    print(f"right under a white-box attack (PGD, 40 steps, L∞), by ε: {under}")
    if difference > 1e-4 or accuracy < 0.97:
        raise SystemExit("not written: the exported model is not the trained one, or it is not good enough")

    config = {
        "name": "digits",
        "description": "Convolutional classifier of 8x8 handwritten digits (scikit-learn's digits)",
        "architecture": "cnn",
        "format": "onnx",
        "opset": 13,
        "parameters": int(sum(w.size for w in weights.values())),
        "input": {
            "name": "image",
            "datatype": "FP32",
            "shape": ["batch", 1, 8, 8],
            "range": [0.0, 1.0],
            "scaling": "pixel / 16",
        },
        "outputs": ["logits", "probabilities"],
        "classes": CLASSES,
        "training": {
            "dataset": "sklearn.datasets.load_digits",
            "seed": arguments.seed,
            "epochs": arguments.epochs,
            "images": len(y),
            "held_out": f"every {HOLD_OUT}th image of each class",
        },
        "metrics": {
            "held_out_images": len(held_y),
            "accuracy": round(accuracy, 4),
            "accuracy_worst_class": round(worst, 4),
            "mean_probability_of_true_class": round(float(chances[np.arange(len(held_y)), held_y].mean()), 4),
            "onnx_max_logit_difference": float(f"{difference:.1e}"),
        },
    }
    if arguments.adversarial:
        config["description"] += ", trained under attack"
        config["training"]["adversarial"] = {"norm": "linf", "epsilon": EPSILON, "steps": STEPS}
        config["metrics"]["accuracy_under_pgd_40_linf"] = under
    directory = arguments.out / ("robust" if arguments.adversarial else "model")
    (directory / "labels").mkdir(parents=True, exist_ok=True)
    (directory / "model.onnx").write_bytes(model)
    (directory / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (directory / "labels" / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    (arguments.out / "samples.json").write_text(json.dumps(samples(held_x, held_y)) + "\n")
    # What `probity evaluate` takes: the images as the model takes them, and what they show.
    np.savez_compressed(arguments.out / "heldout.npz", x=held_x, y=held_y.astype(np.int64))


if __name__ == "__main__":
    main()
