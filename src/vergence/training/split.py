"""A batch divided between processes so that they compute what one process would, up to rounding.

Each process reads and augments its own rows and runs the network on them. Then the network's output is gathered, and every
process computes the losses of the **whole** batch: a mean over labelled joints, or a loss between views and between time steps,
is the same whoever computes it, and no method knows that there are several processes. The price is that losses are
computed by each (they are a few hundredths of a step), and that outputs travel.

- Batch statistics are those of the whole batch (`_Norm`); torch's own `SyncBatchNorm` wants GPUs.
- Random numbers of an augmentation are drawn for all rows of a step, and each process takes those of its own.
- Gradients. Each process has the gradient of the whole loss by its own rows' outputs. Lightning's strategy takes the mean of
  the processes' gradients where the sum is meant, so what flows back through the gathering is multiplied by their number.

What breaks it: a network that draws random numbers itself (dropout) draws others than one process would; and a method that
reads images by other ways than its network: it would see NaN in the other processes' rows, and the loss says so.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from vergence.batches.views import Views
from vergence.errors import VergenceError
from vergence.methods.base import Method
from vergence.training.processes import Team


class Split:
    """This process's rows of every batch.

    Args:
        team: the processes.
        count: images of a whole batch.

    Attributes:
        rows: a slice of the batch; each process has as many as the others, or one less.
    """

    def __init__(self, team: Team, count: int) -> None:
        if count < team.size:
            raise VergenceError(
                f"a batch of {count} images for {team.size} processes", "Start fewer, or enlarge batch."
            )
        least, more = divmod(count, team.size)
        first = team.rank * least + min(team.rank, more)
        self.team, self.count = team, count
        self.rows = slice(first, first + least + (team.rank < more))
        self.depth = 0  # networks within networks that are running
        self.chance: Any = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Split:
        return self  # the average of weights copies the network, hooks and all

    def gathered(self, own: Tensor) -> Tensor:
        """All processes' rows; no gradient."""
        whole = own.new_zeros(self.count, *own.shape[1:])
        whole[self.rows] = own
        dist.all_reduce(whole)
        return whole

    def whole(self, views: Views) -> Views:
        """The whole batch's labels, from the own rows; images of other rows are NaN."""
        fields = [(name, value) for name, value in views.items() if name != "image"]
        table = self.gathered(torch.cat([value.flatten(1).double() if value.ndim > 1 else value[:, None].double()
                                         for _, value in fields], 1))  # fmt: skip
        columns = table.split([value[0].numel() for _, value in fields], 1)
        image = views.image.new_full((self.count, *views.image.shape[1:]), float("nan"))
        image[self.rows] = views.image
        return Views(
            image=image,
            **{name: part.reshape(-1, *value.shape[1:]).to(value.dtype)
               for (name, value), part in zip(fields, columns, strict=True)},
        )  # fmt: skip

    @contextmanager
    def over(self, method: Method) -> Iterator[None]:
        """Within it the method's network, called with a whole batch, runs on the own rows and gives all rows' outputs."""
        parts = [method.network, *(m for m in [getattr(method.network, "backbone", None)] if isinstance(m, nn.Module))]
        handles = [part.register_forward_pre_hook(self._enter) for part in parts]
        handles += [part.register_forward_hook(self._leave) for part in parts]
        norms = [module for module in method.network.modules() if isinstance(module, _BatchNorm)]
        for norm in norms:
            norm.forward = partial(self._normalised, norm)  # type: ignore[method-assign]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            for norm in norms:
                del norm.forward

    def _enter(self, module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...] | None:
        self.depth += 1
        if self.depth > 1:
            return None
        if len(given) != 1 or len(given[0]) != self.count:
            raise VergenceError(
                f"the method runs its network on {len(given[0]) if given else 0} of a batch's {self.count} images",
                "Several processes want its network to see the whole batch at once; train in one process.",
            )
        device = given[0].device
        self.chance = torch.random.fork_rng([device] if device.type == "cuda" else [])
        self.chance.__enter__()
        torch.manual_seed(int(torch.randint(1 << 40, ())) + self.team.rank)
        return (given[0][self.rows],)

    def _leave(self, module: nn.Module, given: tuple[Any, ...], out: Any) -> Any:
        self.depth -= 1
        if self.depth:
            return None
        self.chance.__exit__(None, None, None)
        return self._each(out)

    def _each(self, out: Any) -> Any:
        if isinstance(out, Tensor):
            return _Gather.apply(out, self)
        if isinstance(out, list | tuple):
            return type(out)(self._each(one) for one in out)
        if dataclasses.is_dataclass(out) and not isinstance(out, type):
            return dataclasses.replace(
                out, **{f.name: self._each(getattr(out, f.name)) for f in dataclasses.fields(out)}
            )
        return out

    def _normalised(self, norm: _BatchNorm, x: Tensor) -> Tensor:
        """Batch normalisation by all processes' rows."""
        if not norm.training or not self.depth:
            return type(norm).forward(norm, x)
        out, mean, variance, count = _Norm.apply(x, norm.weight, norm.bias, norm.eps, self.team)
        if norm.running_mean is not None and norm.running_var is not None and norm.num_batches_tracked is not None:
            norm.num_batches_tracked.add_(1)
            share = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
            norm.running_mean.lerp_(mean.to(norm.running_mean), share)
            norm.running_var.lerp_((variance * count / (count - 1).clamp(min=1)).to(norm.running_var), share)
        return out


def drawing(network: nn.Module) -> str:
    """Name of a part that draws random numbers in training, as dropout does; empty where there is none."""
    shares = {"p", "drop_prob", "drop_path_prob"}
    return next(
        (kind for module in network.modules() if "drop" in (kind := type(module).__name__).lower()
         and any(vars(module).get(share) for share in shares)), ""
    )  # fmt: skip


class _Gather(torch.autograd.Function):
    """Own rows to all rows. Each process has the whole loss, so the own rows' gradient is there already."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, split: Split) -> Tensor:
        ctx.split = split
        return split.gathered(own)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient[ctx.split.rows] * ctx.split.team.size, None


class _Norm(torch.autograd.Function):
    """`(x - mean) / sqrt(variance + eps) * weight + bias` by the mean and the variance of all processes' rows.

    Each process's mean and variance are combined (Chan, Golub, LeVeque 1983), in one exchange; one more carries back the two
    sums that the gradient needs. Also returns mean, variance and number of values.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, team: Team
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        axes = [axis for axis in range(x.ndim) if axis != 1]
        variance, mean = torch.var_mean(x.float(), axes, correction=0)
        table = torch.zeros(team.size, 2 * len(mean) + 1, dtype=torch.double, device=x.device)
        table[team.rank] = torch.cat([mean, variance, mean.new_tensor([x.numel() / x.shape[1]])])
        dist.all_reduce(table)
        means, variances, counts = table.split([len(mean), len(mean), 1], 1)
        count = counts.sum()
        total = (means * counts).sum(0) / count
        spread = ((variances + (means - total).square()) * counts).sum(0) / count
        ctx.save_for_backward(x, weight, total, (spread + eps).rsqrt(), count)
        out = nn.functional.batch_norm(x, total.float(), spread.float(), weight, bias, eps=eps)
        ctx.mark_non_differentiable(total, spread, count)
        return out, total, spread, count

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        x, weight, mean, scale, count = ctx.saved_tensors
        shape = [1, -1, *[1] * (x.ndim - 2)]
        axes = [axis for axis in range(x.ndim) if axis != 1]
        above, normal = gradient.float(), (x.float() - mean.float().view(shape)) * scale.float().view(shape)
        by_bias, by_weight = above.sum(axes), (above * normal).sum(axes)
        sums = torch.stack([by_bias, by_weight]).double()
        dist.all_reduce(sums)
        first, second = (sums / count).float().view(2, *shape)
        factor = scale.float().view(shape) * (1.0 if weight is None else weight.float().view(shape))
        by_x = (factor * (above - first - normal * second)).to(x.dtype)
        return by_x, *(None if weight is None else by.to(weight) for by in (by_weight, by_bias)), None, None
