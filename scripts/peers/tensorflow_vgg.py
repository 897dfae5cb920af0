"""TensorFlow (Keras) as a peer of `peers.py`. Modes: graph (`tf.function`), xla (`jit_compile=True`).

Training in bf16 is the Keras policy mixed_bfloat16 (f32 weights); prediction in bf16 keeps the weights in bf16.
"""

import tensorflow as tf

from measured import serve


def network(case):
    """The layers of the case; every one with weights but the last has a ReLU, the logits are f32."""
    layers = tf.keras.layers
    size = case["image_size"]
    model = tf.keras.Sequential([layers.Input((size, size, case["channels"]))])
    dense = False
    for layer in case["layers"][:-1]:
        kind = layer["kind"]
        if kind == "convolution":
            model.add(layers.Conv2D(layer["outputs"], 3, padding="same", activation="relu"))
        elif kind == "pool":
            model.add(layers.MaxPooling2D(2, 2, padding="same"))
        elif kind == "dropout":
            model.add(layers.Dropout(layer["rate"]))
        else:
            if not dense:
                model.add(layers.Flatten())
                dense = True
            model.add(layers.Dense(layer["outputs"], activation="relu"))
    model.add(layers.Dense(case["classes"], dtype="float32"))
    return model


def training_step(case, model, images):
    """Forward with dropout, backward, plain SGD."""
    labels = tf.random.uniform((case["batch_size"],), 0, case["classes"], tf.int32)
    loss_of = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = tf.keras.optimizers.SGD(0.001)
    optimizer.build(model.trainable_variables)

    @tf.function(jit_compile=case["mode"] == "xla")
    def train(images, labels):
        with tf.GradientTape() as tape:
            loss = loss_of(labels, model(images, training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        return loss

    return lambda: train(images, labels).numpy()


def prediction_step(case, model, images):
    """Forward alone, from f32 pictures."""

    @tf.function(jit_compile=case["mode"] == "xla")
    def predict(images):
        return model(images, training=False)

    return lambda: predict(images).numpy()


def prepare(case):
    """The name of the program and one step of the case."""
    tf.config.threading.set_intra_op_parallelism_threads(case["threads"])
    tf.config.threading.set_inter_op_parallelism_threads(case["threads"])
    training = case["work"] == "train"
    if case["precision"] == "bf16":
        tf.keras.mixed_precision.set_global_policy("mixed_bfloat16" if training else "bfloat16")
    size = case["image_size"]
    images = tf.random.uniform((case["batch_size"], size, size, case["channels"]))
    make_step = training_step if training else prediction_step
    return f"TensorFlow {tf.__version__}", make_step(case, network(case), images)


if __name__ == "__main__":
    serve(prepare)
