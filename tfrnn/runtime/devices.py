"""Devices, and the strategies of tf.distribute over them."""

from typing import Any

from tfrnn.errors import UserError


def device_name(device: str = "auto") -> str:
    """Returns TensorFlow's name of a device, e.g. `/CPU:0`.

    Args:
      device: `cpu`, `gpu:N`, or `auto` for the first GPU if there is one.

    Raises:
      UserError: the device does not exist.
    """
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if device == "cpu" or (device == "auto" and not gpus):
        return "/CPU:0"
    number = 0 if device == "auto" else int(device.removeprefix("gpu:"))
    if number >= len(gpus):
        raise UserError(f"`device={device}`: TensorFlow sees {len(gpus)} GPUs here; use `device=auto` or cpu")
    return f"/GPU:{number}"


def devices_of(strategy: Any) -> tuple[str, ...]:
    """Returns the devices on which this process runs replicas; none for the default strategy, which names none."""
    try:
        return strategy.extended.worker_devices
    except (AttributeError, RuntimeError):
        return ()


def one_device(device: str = "auto"):
    """Returns a tf.distribute.OneDeviceStrategy on a device, which is given as for `device_name`."""
    import tensorflow as tf

    return tf.distribute.OneDeviceStrategy(device_name(device))


def mirrored(device: str = "auto"):
    """Returns a tf.distribute.MirroredStrategy on all GPUs; for `cpu` or without GPUs, on all logical CPU devices."""
    import tensorflow as tf

    if device != "cpu" and (gpus := tf.config.list_logical_devices("GPU")):
        return tf.distribute.MirroredStrategy([gpu.name for gpu in gpus])
    # Collective operations, the default between CPUs, allow only one set of devices in a process.
    cpus = [cpu.name for cpu in tf.config.list_logical_devices("CPU")]
    return tf.distribute.MirroredStrategy(cpus, tf.distribute.ReductionToOneDevice())


def multi_worker(device: str = "auto"):
    """Returns a tf.distribute.MultiWorkerMirroredStrategy over the workers of TF_CONFIG, when all have started.

    Each worker uses all its GPUs, or its CPU if it has none or `device` is `cpu`.

    Raises:
      UserError: this worker's address cannot be used.
    """
    import tensorflow as tf

    if device == "cpu":
        tf.config.set_visible_devices([], "GPU")
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except tf.errors.UnknownError as error:  # its server cannot start
        raise UserError(
            f"`strategy=multi_worker`: expected a free address of this machine for this worker in TF_CONFIG, but "
            f"{error.message}; end the program that uses it, or choose another port"
        ) from None
