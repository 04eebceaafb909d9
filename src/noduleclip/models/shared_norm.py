"""Batch normalisation over a batch that is spread over processes: their statistics are summed, and so are gradients.

torch's SyncBatchNorm does the same on cards alone. This one runs anywhere, takes parts of unequal size, none too, and
is the same arithmetic on each device. Knows nothing of processes but a function that sums over them.
"""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

Sum = Callable[[Tensor], Tensor]


class _Normalise(torch.autograd.Function):
    """Normalise by the mean and variance of all processes' values; also give those, and how many values they are of."""

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, sum_over: Sum
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        full = values.to(torch.promote_types(values.dtype, torch.float32))
        over, channels = _all_but_channels(values), values.shape[1]
        count = torch.full((1,), values.numel() / channels, dtype=torch.float64, device=values.device)
        first = full.mean(over) if values.numel() else full.new_zeros(channels)
        spread = (full - _along_channels(first, full)).square().sum(over).double()
        first = first.double()
        told = sum_over(torch.cat([count, count * first, spread + count * first.square()]))
        count, mean = told[:1], told[1 : channels + 1] / told[:1]
        variance = (told[channels + 1 :] / count - mean.square()).clamp_min(0)
        mean, variance = mean.to(full.dtype), variance.to(full.dtype)
        ctx.save_for_backward(values, weight, mean, (variance + eps).rsqrt(), count)
        ctx.sum_over = sum_over
        ctx.mark_non_differentiable(mean, variance, count)
        return F.batch_norm(values, mean, variance, weight, bias, False, 0.0, eps), mean, variance, count

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None, None, None]:
        values, weight, mean, scale, count = ctx.saved_tensors
        over, channels = _all_but_channels(values), values.shape[1]
        grad = grads[0].to(mean.dtype)
        centred = values.to(mean.dtype) - _along_channels(mean, values)
        of_bias, of_weight = grad.sum(over), (grad * centred).sum(over) * scale
        told = ctx.sum_over(torch.cat([of_bias, of_weight]).double()) / count
        mean_grad, mean_along = told.to(mean.dtype).split(channels)
        by = scale if weight is None else weight * scale
        back = (grad - _along_channels(mean_grad, grad)) - centred * _along_channels(scale * mean_along, grad)
        back = (back * _along_channels(by, grad)).to(values.dtype)
        return back, None if weight is None else of_weight, None if weight is None else of_bias, None, None


def _all_but_channels(values: Tensor) -> list[int]:
    return [0, *range(2, values.ndim)]


def _along_channels(statistic: Tensor, values: Tensor) -> Tensor:
    return statistic.view(1, -1, *[1] * (values.ndim - 2))


class SharedBatchNorm(nn.Module):
    """Stands in the place of a batch normalisation, with its own parameters and statistics, under the same names.

    Args:
        norm: The one that it replaces; timm's may drop out and activate, too.
        sum_over: Sums a tensor over the processes, in place.
    """

    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(self, norm: _BatchNorm, sum_over: Sum) -> None:
        super().__init__()
        self.eps, self.momentum, self._sum_over = norm.eps, norm.momentum, sum_over
        self.weight, self.bias = norm.weight, norm.bias
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, getattr(norm, name))
        self.drop, self.act = (getattr(norm, name, nn.Identity()) for name in ("drop", "act"))
        self.train(norm.training)

    def forward(self, values: Tensor) -> Tensor:
        """(B, C, ...) to the same shape; in training over all processes' B."""
        if self.training or self.running_mean is None or self.running_var is None:
            normalised, *statistics = cast(
                tuple[Tensor, ...], _Normalise.apply(values, self.weight, self.bias, self.eps, self._sum_over)
            )
            self._track(*statistics)
        else:
            normalised = F.batch_norm(
                values, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        return cast(Tensor, self.act(self.drop(normalised)))

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Move the running statistics as torch does, which takes the unbiased variance there."""
        if not self.training or self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        unbiased = (variance * (count / (count - 1).clamp_min(1))).to(variance.dtype)
        for running, now in ((self.running_mean, mean), (self.running_var, unbiased)):
            running.mul_(1 - share).add_(now.to(running.dtype), alpha=share)


def share_statistics(model: nn.Module, sum_over: Sum) -> None:
    """Make each batch normalisation of a model count the samples of all processes; names and weights stay."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, _BatchNorm):
                setattr(parent, name, SharedBatchNorm(child, sum_over))
