"""What is put off at the import of foreign packages is what a plain import gives, once it is asked for."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

AFTER = "from lab.compat.imports import put_off_imports\nput_off_imports()\n"


STATEMENTS = (
    "import torchmetrics as m; print(m.Accuracy, m.__all__[:5], m.functional.accuracy.__name__, hasattr(m, 'x'))",
    "from torchmetrics.retrieval import RetrievalMAP; import torchmetrics as m; print(RetrievalMAP.__mro__, m.Metric)",
    "import scipy.optimize._minimize as m, scipy.optimize as s; print(m.__name__, len(s.__all__), s.minimize.__name__)",
    "import torch._dynamo.source as m; print(m.ConstantSource('a').name, m.AttrSource.__module__, m.ConstantSource)",
    "import torch.utils.flop_counter as m; c = m.FlopCounterMode(display=False); print(type(c), m.FlopCounterMode)",
    "import torch._dynamo.utils, torch._dynamo as d; print(d.OptimizedModule, d.reset.__module__, d.config.__name__)",
    *["import triton.language as t, triton as m; print(t.float32, m.jit.__module__)"]
    * (find_spec("triton") is not None),
)


def printed(program: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_step_of_an_optimizer_under_lightning_imports_no_compiler_and_no_metric_of_text_or_images() -> None:
    program = """
import sys
import lightning.pytorch as pl, torch
from scipy.optimize import linear_sum_assignment
from lightning.fabric.wrappers import _unwrap_objects
net = torch.nn.Linear(2, 1)
optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)
net(torch.ones(1, 2)).sum().backward()
optimizer.step()
optimizer.zero_grad()
assert _unwrap_objects(net) is net
print(*linear_sum_assignment([[1, 0], [0, 1]])[1])
names = "torch._dynamo.eval_frame sympy transformers torchvision scipy.signal scipy.linalg triton.runtime"
for name in names.split():
    if name in sys.modules:
        print(name)
"""
    assert printed(AFTER + program) == ["1 0"]


def test_what_is_asked_for_is_that_of_a_plain_import() -> None:
    """Each statement is the first of its own child process."""
    end = "    sys.stdout.flush()\n    os._exit(0)\nassert not os.wait()[1]\n"
    children = [f"if not os.fork():\n    {statement}\n{end}" for statement in STATEMENTS]
    found = printed(AFTER + "import os, sys, torch\n" + "".join(children))
    assert len(found) == len(STATEMENTS)
    assert found == printed("\n".join(STATEMENTS))


def test_a_package_that_was_imported_before_stays() -> None:
    program = "import scipy.optimize\n" + AFTER + "import sys; print(type(sys.modules['scipy.optimize']).__name__)"
    assert printed(program) == ["module"]
    assert printed(AFTER + "import scipy.optimize, sys; print(type(scipy.optimize).__name__)") == ["_LatePackage"]


COMPILED = """
import torch
from lightning.fabric.wrappers import _unwrap_compiled
from lightning.pytorch.utilities.compile import OptimizedModule

net = torch.nn.Linear(2, 1)
torch.nn.init.constant_(net.weight, 0.5)
optimizer = torch.optim.SGD(net.parameters(), lr=0.25)

@torch.compiler.disable
def kept(x: torch.Tensor) -> torch.Tensor:
    '''Words.'''
    return x + (0 if torch.compiler.is_compiling() else 1)

def step() -> None:
    optimizer.zero_grad()
    net(kept(torch.ones(1, 2))).sum().backward()
    optimizer.step()

step()
print(isinstance(net, OptimizedModule), kept.__name__, kept.__doc__)
seen = []

def backend(graph, inputs):
    seen.append(len(graph.graph.nodes))
    return graph.forward

fast = torch.compile(net, backend=backend)
print(isinstance(fast, OptimizedModule), issubclass(type(fast), OptimizedModule), _unwrap_compiled(fast)[0] is net)
print(fast(torch.ones(1, 2)).shape, OptimizedModule.__name__)
print(isinstance(OptimizedModule(net, fast.dynamo_ctx), OptimizedModule))
compiled = torch.compile(step, backend=backend)
compiled()
compiled()
print(net.weight.tolist(), seen)

class Own(OptimizedModule):
    pass

print(isinstance(fast, Own), torch._dynamo.OptimizedModule in Own.__mro__)
"""


def test_the_compiler_comes_when_something_is_compiled() -> None:
    """With the same graphs, although the optimizer and a function have been called before."""
    assert printed(AFTER + COMPILED) == printed(COMPILED)
