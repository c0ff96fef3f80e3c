"""What is used of torch's private side does what it is used for: each test has the name of its function."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.compat import torch as compat

A, B = torch.tensor([1.0, 4.0]), torch.tensor([[9.0]])


def pair() -> list[Tensor]:
    return [A.clone(), B.clone()]


def same(found: list[Tensor], *wanted: list[float] | list[list[float]]) -> None:
    torch.testing.assert_close(found, [torch.tensor(values) for values in wanted])


def test_foreach_norm() -> None:
    norms = compat.foreach_norm([torch.tensor([3.0, 4.0]), torch.tensor([[-2.0]])])
    torch.testing.assert_close(norms, [torch.tensor(5.0), torch.tensor(2.0)])


def test_foreach_copy_() -> None:
    tensors = pair()
    compat.foreach_copy_(tensors, [torch.tensor([7.0, 8.0]), torch.tensor([[0.0]])])
    same(tensors, [7.0, 8.0], [[0.0]])


def test_foreach_lerp_() -> None:
    tensors = pair()
    compat.foreach_lerp_(tensors, [torch.tensor([3.0, 4.0]), torch.tensor([[1.0]])], 0.25)
    same(tensors, [1.5, 4.0], [[7.0]])


def test_foreach_add() -> None:
    same(compat.foreach_add(pair(), 1.0), [2.0, 5.0], [[10.0]])
    same(compat.foreach_add(pair(), pair(), alpha=2), [3.0, 12.0], [[27.0]])


def test_foreach_add_() -> None:
    tensors = pair()
    compat.foreach_add_(tensors, pair())
    same(tensors, [2.0, 8.0], [[18.0]])


def test_foreach_mul_broadcasts() -> None:
    factors = [torch.tensor([2.0, 3.0]), torch.tensor([0.5])]
    same(compat.foreach_mul(pair(), factors), [2.0, 12.0], [[4.5]])


def test_addmm_relu() -> None:
    left, right, bias = torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, -2.0], [3.0, 0.5]]), torch.tensor([0.5, 0.0])
    torch.testing.assert_close(compat.addmm_relu(bias, left, right), torch.tensor([[7.5, 0.0]]))


def test_foreach_mul_() -> None:
    tensors = pair()
    compat.foreach_mul_(tensors, 2.0)
    same(tensors, [2.0, 8.0], [[18.0]])


def test_foreach_sqrt_() -> None:
    tensors = pair()
    compat.foreach_sqrt_(tensors)
    same(tensors, [1.0, 2.0], [[3.0]])


def test_foreach_addcmul_() -> None:
    tensors = pair()
    compat.foreach_addcmul_(tensors, pair(), pair())
    same(tensors, [2.0, 20.0], [[90.0]])


def test_foreach_addcdiv_() -> None:
    tensors = pair()
    compat.foreach_addcdiv_(tensors, pair(), pair(), -0.5)
    same(tensors, [0.5, 3.5], [[8.5]])


def test_onednn_linear() -> None:
    assert compat.has_onednn_linear() == hasattr(torch.ops.mkldnn, "_linear_pointwise")
    if not compat.has_onednn_linear():
        return
    x, weight, bias = (
        torch.randn(*shape, generator=torch.Generator().manual_seed(0)) for shape in ((5, 8), (3, 8), (3,))
    )
    torch.testing.assert_close(compat.onednn_linear(x, weight, bias), x @ weight.T + bias)
    torch.testing.assert_close(compat.onednn_linear(x, weight, None, "gelu", "none"), F.gelu(x @ weight.T))


def test_onednn_convolution() -> None:
    generator = torch.Generator().manual_seed(0)
    geometry = nn.Conv2d(4, 4, 3, padding=1)
    x, add = (torch.randn(1, 4, 5, 6, generator=generator) for _ in range(2))
    weight, bias = torch.randn(4, 4, 3, 3, generator=generator), torch.randn(4, generator=generator)
    plain = F.conv2d(x, weight, bias, padding=1)
    then = {"none": lambda x: x, "relu": F.relu, "relu6": F.relu6, "leaky_relu": lambda x: F.leaky_relu(x, 0.1)}
    for added, activation, reuse in (
        *((None, name, False) for name in then),
        (add, "relu", False),
        (add.clone(), "none", True),
    ):
        wanted = plain if added is None else plain + added
        found = compat.onednn_convolution(x, weight, bias, geometry, added, activation, 0.1, reuse)
        torch.testing.assert_close(found, then[activation](wanted))
        assert not reuse or (added is not None and found.data_ptr() == added.data_ptr())


def test_onednn_packed_convolution() -> None:
    geometry = nn.Conv2d(4, 6, 3, 2, 1, groups=2)
    x = torch.randn(2, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    packed = compat.onednn_packed_convolution(geometry.weight.detach(), geometry, (1, 4, 9, 9))
    found = compat.onednn_convolution(x, packed, geometry.bias, geometry, None, "relu", 0.0, False)
    torch.testing.assert_close(found, F.relu(geometry(x)))


def test_onednn_packed_linear() -> None:
    if not compat.has_onednn_linear():
        return
    x, weight = (torch.randn(*shape, generator=torch.Generator().manual_seed(0)) for shape in ((2, 5, 8), (3, 8)))
    packed = compat.onednn_packed_linear(weight, 10)
    torch.testing.assert_close(compat.onednn_linear(x, packed, None, "relu"), F.relu(x @ weight.T))


def test_convolution_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight = torch.randn(2, 4, 7, 9, generator=generator), torch.randn(6, 4, 3, 3, generator=generator)
    geometry = ((2, 1), (1, 2), (1, 2))
    leaves = x.requires_grad_(), weight.requires_grad_()
    out = F.conv2d(*leaves, None, *geometry)
    grad = torch.randn(out.shape, generator=generator)
    wanted = torch.autograd.grad(out, leaves, grad)
    with torch.no_grad():
        torch.testing.assert_close(compat.convolution_gradients(grad, x, weight, geometry, (True, True)), wanted)
        by_x, by_weight = compat.convolution_gradients(grad, x, weight, geometry, (False, True))
    assert by_x is None
    torch.testing.assert_close(by_weight, wanted[1])


def test_in_function_transform() -> None:
    seen = []

    def square(x: Tensor) -> Tensor:
        seen.append(compat.in_function_transform())
        return (x * x).sum()

    square(A)
    torch.func.grad(square)(A)
    torch.func.vmap(square)(A[None])
    assert seen == [False, True, True]


def test_has_forward_hooks() -> None:
    module = nn.Identity()
    assert not compat.has_forward_hooks(module)
    handle = module.register_forward_hook(lambda *_: None)
    assert compat.has_forward_hooks(module)
    handle.remove()
    assert not compat.has_forward_hooks(module)


def test_has_forward_pre_hooks() -> None:
    module = nn.Identity()
    assert not compat.has_forward_pre_hooks(module)
    module.register_forward_pre_hook(lambda *_: None)
    assert compat.has_forward_pre_hooks(module)
    assert not compat.has_forward_hooks(module)


def test_is_watched() -> None:
    layer = nn.Linear(2, 2)
    assert not compat.is_watched(layer)
    for register in (layer.register_forward_hook, layer.register_forward_pre_hook):
        handle = register(lambda *_: None)
        assert compat.is_watched(layer)
        handle.remove()
    assert not compat.is_watched(layer)


def test_is_compiled_in_place() -> None:
    layer = nn.Linear(2, 2)
    assert not compat.is_compiled_in_place(layer)
    layer.compile(backend="eager")
    assert compat.is_compiled_in_place(layer)


def test_in_backward() -> None:
    seen: list[bool] = []
    x = torch.ones(1, requires_grad=True)
    y = x * 2
    y.register_hook(lambda _: seen.append(compat.in_backward()))
    y.backward()
    assert seen == [True]
    assert not compat.in_backward()


def test_children_of() -> None:
    shared = nn.Linear(2, 2)
    parent = nn.Module()
    parent.first, parent.none, parent.second = shared, None, shared
    parent.register_module("absent", None)
    assert compat.children_of(parent) == {"first": shared, "second": shared}


def test_version_of() -> None:
    tensor = A.clone()
    before = compat.version_of(tensor)
    tensor.add_(1)
    changed = compat.version_of(tensor)
    tensor + 1
    assert before < changed == compat.version_of(tensor)


def test_storage_id() -> None:
    tensor, other = A.clone(), A.clone()
    assert compat.storage_id(tensor) == compat.storage_id(tensor[1:]) != compat.storage_id(other)
    with compat.fake_tensors():
        fake, another = torch.empty(2), torch.empty(2)
        assert compat.storage_id(fake) == compat.storage_id(fake.view(1, 2)) != compat.storage_id(another)


def test_scale_on_device() -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    assert compat.scale_on_device(scaler) is None
    scaler.scale(torch.ones(()))
    assert compat.scale_on_device(scaler).item() == 8.0


def test_parts_of() -> None:
    module = nn.Sequential(nn.ReLU(), nn.Sequential(nn.Linear(1, 1), nn.ModuleDict({"a": nn.Tanh()})))
    module.register_module("nothing", None)
    assert set(compat.parts_of(module)) == set(module.modules()) - {module}
    assert compat.parts_of(nn.Tanh()) == []


def test_own_tensors() -> None:
    norm = nn.Sequential(nn.BatchNorm1d(2))[0]
    found = compat.own_tensors(norm)
    assert found["weight"] is norm.weight
    assert found["running_var"] is norm.running_var
    assert set(found) == {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}


def test_many_modules_are_asked_at_once() -> None:
    net = nn.Sequential(nn.Linear(1, 1), nn.ReLU())
    places = [(net, "0", net[0]), (net, "1", net[1])]
    assert compat.are_in_place(places)
    assert not compat.are_watched([net[0], net[1]])
    handle = net[1].register_forward_pre_hook(lambda *_: None)
    assert compat.are_watched([net[0], net[1]])
    handle.remove()
    assert not compat.are_watched([net[0], net[1]])
    net[1] = nn.ReLU()
    assert not compat.are_in_place(places)


def test_own_parameters() -> None:
    module = nn.Sequential(nn.Linear(1, 1))
    assert list(compat.own_parameters(module)) == []
    assert list(compat.own_parameters(module[0])) == ["weight", "bias"]
    weight = module[0].weight
    compat.own_parameters(module[0])["weight"] = torch.full((1, 1), 3.0)  # a plain tensor, which is computed with
    compat.own_parameters(module[0])["bias"] = torch.zeros(1)
    assert module(torch.ones(1)).item() == 3.0
    compat.own_parameters(module[0])["weight"] = weight
    assert module[0].weight is weight


def test_tree_leaves() -> None:
    assert compat.tree_leaves({"a": [1, (2, None)], "b": {"c": 3}}) == [1, 2, None, 3]


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.Adam, torch.optim.SGD])
def test_in_one_pass(kind: type[torch.optim.Optimizer]) -> None:
    """Changes are counted, but not of what has no gradient; a scaler leaves unscaled gradients to clip."""
    trained, other = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = compat.in_one_pass(kind([trained, other], lr=0.1, fused=True))  # type: ignore[call-arg]
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    scaler.scale((trained * 3).sum()).backward()
    before = compat.version_of(trained), compat.version_of(other)
    scaler.unscale_(optimizer)
    assert trained.grad is not None
    assert trained.grad.tolist() == [3.0, 3.0]
    trained.grad.mul_(0)
    scaler.step(optimizer)
    assert compat.version_of(trained) > before[0]
    assert compat.version_of(other) == before[1]
    if kind is torch.optim.SGD:
        assert trained.tolist() == [1.0, 1.0]  # the clipped gradient counted


def test_fake_tensors() -> None:
    weight = torch.ones(2, 3)
    with compat.fake_tensors():
        product = torch.empty(4, 2, device="cuda" if torch.cuda.is_available() else "cpu").cpu() @ weight
    assert product.shape == (4, 3)
    assert type(product) is not Tensor


def test_compiled() -> None:
    module = nn.Linear(1, 1)
    compiled = torch.compile(module)  # compiles nothing before it is called
    assert dict(compiled.named_children()) == {compat.COMPILED: module}
    assert set(compiled.state_dict()) == {f"{compat.COMPILED}.weight", f"{compat.COMPILED}.bias"}


def test_flatten_mesh_and_local_shape_and_offset(one_rank: None) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    mesh = init_device_mesh("cpu", (1, 1), mesh_dim_names=("data", "tensor"))
    compat.flatten_mesh(mesh, "ranks")
    norm = torch.linalg.vector_norm(distribute_tensor(torch.tensor([3.0, 4.0]), mesh, [Replicate(), Shard(0)]))
    assert norm.full_tensor().item() == 5.0
    placements = [Replicate(), Shard(0)]
    assert compat.local_shape_and_offset((3, 2), mesh, placements) == ((3, 2), (0, 0))
    # What ranks hold of three rows on two of them is the matter of tests/dist/test_fsdp.py.


def test_reads_values() -> None:
    def error_of(read: Callable[[], object]) -> BaseException:
        with pytest.raises((RuntimeError, TypeError)) as raised:
            read()
        return raised.value

    with compat.fake_tensors():
        fake = torch.ones(3)
        for read in (fake.nonzero, fake.tolist, lambda: fake[fake > 0], fake.numpy):
            assert compat.reads_values(error_of(read)), read
        assert not compat.reads_values(error_of(lambda: fake @ torch.ones(4)))
    meta = torch.ones(3, device="meta")
    for read in (meta.nonzero, meta.tolist, meta.cpu, lambda: meta[0].item()):
        assert compat.reads_values(error_of(read)), read
    assert not compat.reads_values(error_of(lambda: meta @ torch.ones(4, device="meta")))


def test_ToldWhenMoved() -> None:
    class Noted(compat.ToldWhenMoved):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.dtypes = nn.Linear(2, 2), list[torch.dtype]()

        def was_moved(self) -> None:
            self.dtypes.append(self.inner.weight.dtype)

    noted = Noted()
    nn.Sequential(noted).double().to(torch.bfloat16)
    assert noted.dtypes == [torch.float64, torch.bfloat16]


def test_fixed_dimensions() -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 2 if int(x.shape[1]) == 4 else x

    dims = {0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO}
    program = torch.export.export(Net(), (torch.ones(3, 4),), dynamic_shapes={"x": dims})
    symbols, fixed = compat.fixed_dimensions(program, {"rows": 0, "columns": 1})
    assert list(symbols) == ["rows"]
    assert list(fixed) == ["columns"]
    assert fixed["columns"].startswith("fixed at 4")


def test_can_pack() -> None:
    """What it says is what oneDNN does with such a weight here."""
    assert compat.can_pack(torch.ones(4, 4))
    half = torch.ones(4, 4, dtype=torch.bfloat16)
    if compat.can_pack(half):
        assert compat.onednn_packed_linear(half) is not None
    else:
        with pytest.raises(RuntimeError, match="bf16 path needs the cpu support"):
            compat.onednn_packed_linear(half)
