"""What the jobs of test_torch run on each rank; like work.py, it travels with them."""

from __future__ import annotations

from typing import Any


def train(steps: int) -> dict[str, Any]:
    """Fit y = 3 x with a model whose gradients are averaged over ranks that see different x."""
    import torch
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel

    dist.init_process_group("gloo")
    rank = dist.get_rank()
    torch.manual_seed(rank)
    model = DistributedDataParallel(torch.nn.Linear(1, 1, bias=False))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for _ in range(steps):
        x = torch.randn(64, 1)
        loss = ((model(x) - 3 * x) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    weights = [torch.empty(1, 1) for _ in range(dist.get_world_size())]
    dist.all_gather(weights, model.module.weight.detach())
    print(f"rank {rank} of {dist.get_world_size()}: loss {losses[0]:.2f} -> {losses[-1]:.2g}", flush=True)
    return {"rank": rank, "losses": losses, "weights": [weight.item() for weight in weights]}


def fails(how: str) -> None:
    """Fail on rank 1 as rank 0 waits for it."""
    import os

    import torch.distributed as dist

    dist.init_process_group("gloo")
    if dist.get_rank() == 1:
        print("last words of rank 1", flush=True)
        if how == "raise":
            message = "on purpose"
            raise ValueError(message)
        os._exit(7)
    dist.barrier()
