"""What a training step costs when its whole loss is compiled, and what compiling costs.

    OMP_NUM_THREADS=1 python benchmarks/compiled_training.py [--configuration c]

The loss and its gradients, second derivatives included, are traced into one graph on the plain
torch path (``make_fx``) and compiled by inductor. The trace holds one batch: which atoms are
neighbours, and how many, are constants in it. Prints seconds of tracing and compiling, process-CPU
milliseconds of loss and gradients (compiled, plain torch, native kernels, in turn), and how far the
gradients are off.
"""

import argparse
import contextlib
import time

import torch
from torch.func import functional_call
from torch.fx.experimental import proxy_tensor
from train_speed import BATCH, CONFIGURATIONS, FRAMES, Steps

from mace_core.ops import backend
from mace_core.train.loss import Residuals


@contextlib.contextmanager
def topology_known():
    """Which atoms are neighbours is known while tracing, and may decide what is traced."""
    names = ("tolist", "__int__", "nonzero")
    before = {name: getattr(torch.Tensor, name) for name in names}

    def untraced(method):
        def call(*args):
            with proxy_tensor.disable_proxy_modes_tracing():
                return method(*args)

        return call

    for name, method in before.items():
        setattr(torch.Tensor, name, untraced(method))
    try:
        yield
    finally:
        for name, method in before.items():
            setattr(torch.Tensor, name, method)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--configuration", default="c", choices=list(CONFIGURATIONS))
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    steps = Steps(options.configuration, FRAMES, torch.float32, "auto")
    graph, targets = steps.data.batch(range(BATCH))
    names, parameters = zip(*steps.model.named_parameters(), strict=True)

    def gradients(*values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        given = dict(zip(names, values, strict=True))
        out = functional_call(steps.model, given, (graph,), {"forces": True, "training": True})
        loss = steps.loss(Residuals.of(out, targets), targets)
        return torch.autograd.grad(loss, values)

    def on(name: str):
        def run() -> tuple[torch.Tensor, ...]:
            with backend.use(name):
                return gradients(*parameters)

        return run

    begun = time.perf_counter()
    with backend.use("torch"), topology_known():
        traced = proxy_tensor.make_fx(gradients)(*parameters)
    print(
        f"tracing {time.perf_counter() - begun:.0f} s, {len(traced.graph.nodes)} nodes", flush=True
    )
    begun = time.perf_counter()
    with torch.no_grad():
        compiled = torch.compile(traced, fullgraph=True)
        compiled(*parameters)
    print(f"compiling {time.perf_counter() - begun:.0f} s", flush=True)

    def run_compiled() -> tuple[torch.Tensor, ...]:
        with torch.no_grad():
            return compiled(*parameters)

    works = {"compiled": run_compiled, "torch": on("torch"), "native": on("native")}
    times: dict[str, list[float]] = {name: [] for name in works}
    results = {}
    for repeat in range(options.repeats + 3):
        for name, work in works.items():
            start = time.process_time()
            results[name] = work()
            if repeat >= 3:
                times[name].append(1e3 * (time.process_time() - start))
    for name, ms in times.items():
        pairs = zip(results[name], results["native"], strict=True)
        off = max(float((a - b).abs().max() / b.abs().max().clamp(min=1e-6)) for a, b in pairs)
        print(f"{name:9s} min {min(ms):6.1f} ms, gradients off by {off:.0e} of their largest")


if __name__ == "__main__":
    main()
