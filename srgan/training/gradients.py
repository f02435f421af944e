"""The gradients of a training step: one pass through each network for both losses."""

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from srgan.distributed import process_group
from srgan.training.objectives import Objective
from srgan.training.optimization import OptimizedNetwork
from srgan.training.stabilization import Stabilizer


def add_gradients(
    objective: Objective,
    networks: Mapping[str, OptimizedNetwork],
    averaged: Callable[[Tensor], Tensor],
    hr_image: Tensor,
    lr_image: Tensor,
    stabilizer: Stabilizer | None = None,
    draws: Sequence[Tensor] = (),
    penalized: bool = False,
) -> tuple[dict[str, Tensor], Tensor]:
    """Add the gradients of both networks.

    Args:
        objective: the losses.
        networks: ``generator``, and ``discriminator`` in the GAN stage.
        averaged: the generator with the averaged weights.
        hr_image: `(N, channels, H, W)` float32 in 0..1.
        lr_image: `(N, channels, H / scale, W / scale)` float32.
        stabilizer: of the discriminator.
        draws: random numbers of the stabilizer for these images.
        penalized: whether the step has the gradient penalties.

    Returns:
        The values to log, and the SR images.
    """
    generator, discriminator = networks["generator"], networks.get("discriminator")
    with objective.autocast():
        sr_image = generator.forward(lr_image)
    judge = discriminator.forward if discriminator else None
    if judge is not None and stabilizer:
        judge = stabilizer.judge(judge, draws)
    inputs = objective.compare(sr_image, hr_image, lr_image, judge, process_group.batch_mean, averaged)
    values: dict[str, Tensor] = {}
    if discriminator:
        assert objective.adversarial
        loss = values["loss_discriminator"] = objective.adversarial.discriminator_loss(inputs)
        if judge is not None and stabilizer:
            plain = stabilizer.judge(discriminator.parallel, draws)  # compiled code has no second derivatives
            penalties, total = stabilizer.penalties(objective, inputs, plain, penalized)
            values |= penalties
            loss = loss + total
        discriminator.backward(loss, keep_graph=True)
    terms = objective.terms(inputs)
    if (weighted := objective.total(terms)) is not None:
        generator.backward(weighted)
    if discriminator:
        assert objective.adversarial
        values["real_accuracy"], values["fake_accuracy"] = objective.adversarial.accuracy(inputs)
    return {f"loss_{name}": term for name, term in terms.items()} | values, sr_image.detach()
