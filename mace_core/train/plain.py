"""torch's optimisers without what their first call costs."""

import inspect

import torch


def without_compile_guards(optimizer: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    """torch's optimiser without its guards against being compiled.

    Their first call imports torch._dynamo, which takes as long as all of torch, in each training.
    """
    names = ("add_param_group", "state_dict", "load_state_dict")
    methods = {name: inspect.unwrap(getattr(optimizer, name)) for name in names}
    methods["step"] = torch.no_grad()(inspect.unwrap(optimizer.step))
    return type(optimizer.__name__, (optimizer,), methods)
