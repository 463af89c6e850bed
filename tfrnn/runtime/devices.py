"""Devices and the strategies of tf.distribute over them."""

from typing import Any

from tfrnn.errors import UserError


def device_name(device: str = "auto") -> str:
    """`auto`, `cpu` or `gpu:N` as TensorFlow names it, such as /CPU:0. Raises UserError where it is not there."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if device == "cpu" or (device == "auto" and not gpus):
        return "/CPU:0"
    number = 0 if device == "auto" else int(device.removeprefix("gpu:"))
    if number >= len(gpus):
        raise UserError(f"--device={device}: TensorFlow sees {len(gpus)} GPUs here; use --device=auto or cpu")
    return f"/GPU:{number}"


def devices_of(strategy: Any) -> tuple[str, ...]:
    """The devices on which this process runs replicas of a strategy; none of the default one, which names none."""
    try:
        return strategy.extended.worker_devices
    except (AttributeError, RuntimeError):
        return ()


def one_device(device: str = "auto"):
    """tf.distribute.OneDeviceStrategy on that device."""
    import tensorflow as tf

    return tf.distribute.OneDeviceStrategy(device_name(device))


def mirrored(device: str = "auto"):
    """tf.distribute.MirroredStrategy on all GPUs, or, for `cpu` and where there are none, all devices of the CPU."""
    import tensorflow as tf

    if device != "cpu" and (gpus := tf.config.list_logical_devices("GPU")):
        return tf.distribute.MirroredStrategy([gpu.name for gpu in gpus])
    # By default CPU devices meet in collective operations, of which a process can have one set of devices only.
    cpus = [cpu.name for cpu in tf.config.list_logical_devices("CPU")]
    return tf.distribute.MirroredStrategy(cpus, tf.distribute.ReductionToOneDevice())


def multi_worker(device: str = "auto"):
    """tf.distribute.MultiWorkerMirroredStrategy over the workers of TF_CONFIG, each with all its GPUs, if it has some.

    Returns when all of them are there. Raises UserError where this worker's own address cannot be taken.
    """
    import tensorflow as tf

    if device == "cpu":
        tf.config.set_visible_devices([], "GPU")
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except tf.errors.UnknownError as error:  # its server does not start
        raise UserError(
            f"--strategy=multi_worker: expected an address of this machine that is free, for this worker in TF_CONFIG, "
            f"but {error.message}; end who uses it, or take another port"
        ) from None
