"""`cond`, `while_loop` and lists, built by coremltools, against what Python makes of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lilims.core.errors import PackageError, UnsupportedOpError
from lilims.runtime.portable import MLModel
from lilims.runtime.portable.cache import Cache
from lilims.runtime.portable.compiler import compile_function
from lilims.runtime.portable.program import Block, Constant, Op, Ref, TensorType, Value

from .build import Fn, Runner, literal

Save = Callable[..., Path]


@pytest.fixture
def program(ct: Any, mb: Any, save: Save) -> Callable[..., Path]:
    """Saves a function of inputs [name=shape], all float32."""

    def build(body: Callable[..., Any], *shapes: tuple[int, ...]) -> Path:
        specs = [mb.TensorSpec(shape) for shape in shapes]
        return save(main=mb.program(input_specs=specs, opset_version=ct.target.iOS18)(body))

    return build


BOTH = pytest.mark.parametrize("precision", ["exact", "fp16"])


@BOTH
@pytest.mark.parametrize("value", [3.0, -3.0])
def test_a_branch_reads_what_lies_outside(program: Any, mb: Any, value: float, precision: Any) -> None:
    weights = np.arange(20000, dtype=np.float32).reshape(2, 10000) / 20000

    def choose(x: Any) -> Any:
        shared = mb.const(val=weights)
        doubled = mb.mul(x=x, y=np.float32(2))
        positive = mb.squeeze(x=mb.greater(x=mb.slice_by_size(x=x, begin=[0], size=[1]), y=np.float32(0)))
        return mb.cond(
            pred=positive,
            _true_fn=lambda: mb.linear(x=doubled, weight=mb.transpose(x=shared, perm=[1, 0])),
            _false_fn=lambda: mb.squeeze(x=mb.slice_by_size(x=shared, begin=[0, 0], size=[1, 10000]), axes=[0]),
            name="result",
        )

    model = MLModel(program(choose, (2,)), precision=precision)
    found = model.predict({"x": np.float32([value, 1])})["result"]
    expected = np.float32([value * 2, 2]) @ weights if value > 0 else weights[0]
    np.testing.assert_allclose(found, expected, atol=1e-4)


@BOTH
def test_a_loop_within_a_loop(program: Any, mb: Any, precision: Any) -> None:
    """i from x to y; within each round, i grows while 2 i < i + 2."""

    def loops(x: Any, y: Any) -> Any:
        def outer(i: Any, j: Any) -> Any:
            inner = mb.while_loop(
                _cond=lambda k: mb.less(x=mb.mul(x=k, y=[2.0]), y=mb.add(x=k, y=[2.0])),
                _body=lambda k: mb.add(x=k, y=[1.0]),
                loop_vars=(i,),
            )
            return mb.add(x=inner, y=[2.0]), j

        i, j = mb.while_loop(_cond=lambda i, j: mb.less(x=i, y=j), _body=outer, loop_vars=(x, y))
        return mb.identity(x=i, name="i"), mb.identity(x=j, name="j")

    model = MLModel(program(loops, (1,), (1,)), precision=precision)
    for start, end in ((0, 10), (7, 3)):  # the second makes no round
        found = model.predict({"x": np.float32([start]), "y": np.float32([end])})
        i = start
        while i < end:
            while 2 * i < i + 2:
                i += 1
            i += 2
        assert (found["i"].tolist(), found["j"].tolist()) == ([i], [end])


def test_a_variable_may_grow(ct: Any, mb: Any, save: Save) -> None:
    from coremltools.converters.mil.mil import get_new_symbol

    @mb.program(input_specs=[mb.TensorSpec((get_new_symbol(),))], opset_version=ct.target.iOS18)
    def grow(x: Any) -> Any:
        values, _ = mb.while_loop(
            _cond=lambda v, i: mb.less(x=i, y=3),
            _body=lambda v, i: (mb.concat(values=(v, v), axis=0), mb.add(x=i, y=1)),
            loop_vars=(x, 0),
        )
        return mb.identity(x=values, name="values")

    try:
        package = save(main=grow, inputs=[ct.TensorType("x", shape=(ct.RangeDim(1, 9),))])
    except ValueError as exc:  # coremltools' own check of a loop's types
        pytest.skip(str(exc))
    found = MLModel(package).predict({"x": np.float32([1, 2])})["values"]
    assert found.tolist() == [1, 2] * 8


@BOTH
def test_lists(program: Any, mb: Any, precision: Any) -> None:
    def lists(a: Any, b: Any) -> Any:
        held = mb.make_list(init_length=2, elem_shape=(2,))
        first = mb.list_read(ls=held, index=0)
        held = mb.list_write(ls=held, index=0, value=a)
        held = mb.list_write(ls=held, index=4, value=b)  # beyond the end
        held = mb.list_scatter(ls=held, indices=[2, 1], value=np.float32([[-1, -2], [-4, -5]]))
        gathered = mb.list_gather(ls=held, indices=[4, 2, 3, 1, 0])
        length = mb.list_length(ls=held)
        return mb.identity(x=first, name="first"), mb.identity(x=gathered, name="all"), mb.identity(x=length, name="n")

    model = MLModel(program(lists, (2,), (2,)), precision=precision)
    found = model.predict({"a": np.float32([1, 3]), "b": np.float32([2, 4])})
    assert found["first"].tolist() == [0, 0]
    assert found["all"].tolist() == [[2, 4], [-1, -2], [0, 0], [-4, -5], [1, 3]]
    assert found["n"].tolist() == [5]


def test_a_list_grows_in_a_loop_and_learns_its_elements_shape(program: Any, mb: Any) -> None:
    def collect(x: Any) -> Any:
        held = mb.make_list(init_length=0, elem_shape=("unknown_size",))
        _, held = mb.while_loop(
            _cond=lambda i, held: mb.less(x=i, y=4),
            _body=lambda i, held: (
                mb.add(x=i, y=1),
                mb.list_write(ls=held, index=i, value=mb.mul(x=x, y=mb.cast(x=i, dtype="fp32"))),
            ),
            loop_vars=(0, held),
        )
        indices = mb.range_1d(start=0, end=mb.list_length(ls=held), step=1)
        return mb.list_gather(ls=held, indices=indices, name="all")

    found = MLModel(program(collect, (3,))).predict({"x": np.float32([1, 2, 3])})["all"]
    assert found.tolist() == [[i, 2 * i, 3 * i] for i in range(4)]


def test_bodies_from_the_cache(program: Any, mb: Any, tmp_path: Path) -> None:
    weights = np.arange(4096, dtype=np.float32).reshape(64, 64) / 4096

    def powers(x: Any) -> Any:
        kept = mb.const(val=weights)
        y, _ = mb.while_loop(
            _cond=lambda v, i: mb.less(x=i, y=3),
            _body=lambda v, i: (mb.matmul(x=v, y=kept), mb.add(x=i, y=1)),
            loop_vars=(x, 0),
        )
        return mb.identity(x=y, name="y")

    path, x = program(powers, (1, 64)), np.ones((1, 64), np.float32)
    expected = x @ weights @ weights @ weights
    for _ in range(2):
        found = MLModel(path, cache=Cache(tmp_path / "cache", "powers")).predict({"x": x})["y"]
        np.testing.assert_allclose(found, expected, rtol=1e-4)


# -- by hand: what no converter writes -------------------------------------------------------------------------------


def _cond(*blocks: Block, dtype: str = "fp32") -> Op:
    pred: Constant = literal(True, "bool")
    return Op("cond", "cond", {"pred": (pred,)}, (Value("y", TensorType(dtype, (2,))),), blocks=blocks)


def test_a_state_is_not_written_in_a_body() -> None:
    fn = Fn()
    x, kept = fn.input("x", "fp16", (2,)), fn.state("kept", (2,))
    write = Op("write_state", "write", {"input": (kept,), "data": (x,)}, ())
    block = Block((), (write,), (x.name,))
    fn.ops.append(_cond(block, block, dtype="fp16"))
    with pytest.raises(UnsupportedOpError, match="body of another op"):
        compile_function(fn.function(Ref("y")))


def test_a_state_is_read_in_a_body() -> None:
    fn = Fn()
    x, kept = fn.input("x", "fp16", (2,)), fn.state("kept", (2,))
    read = Op("read_state", "read", {"input": (kept,)}, (Value("held", TensorType("fp16", (2,))),))
    fn.ops.append(_cond(Block((), (read,), ("held",)), Block((), (), (x.name,)), dtype="fp16"))
    run = Runner(fn.function(Ref("y")))
    run.states.whole("kept")[...] = [5, 6]
    assert run(x=np.float32([1, 2]))[0].tolist() == [5, 6]


BROKEN = {
    "one branch": [Block((), (), ("x",))],
    "no output": [Block((), (), ())] * 2,
    "two outputs": [Block((), (), ("x", "x"))] * 2,
    "an unknown output": [Block((), (), ("nobody",))] * 2,
    "an argument": [Block((Value("z", TensorType("fp32", (2,))),), (), ("x",))] * 2,
}


@pytest.mark.parametrize("blocks", BROKEN.values(), ids=BROKEN)
def test_bodies_that_contradict_themselves(blocks: list[Block]) -> None:
    fn = Fn()
    fn.input("x", "fp32", (2,))
    fn.ops.append(_cond(*blocks))
    with pytest.raises(PackageError):
        compile_function(fn.function(Ref("y")))


def test_a_name_of_a_body_is_its_own() -> None:
    """Siblings may use one name for two things; none is visible outside."""

    def block(factor: float) -> Block:
        inner = Op("mul", "m", {"x": (Ref("x"),), "y": (literal(np.float32(factor)),)}, (Value("t", TENSOR),))
        return Block((), (inner,), ("t",))

    fn = Fn()
    fn.input("x", "fp32", (2,))
    fn.ops.append(_cond(block(3), block(5)))
    assert Runner(fn.function(Ref("y")))(x=np.float32([1, 2]))[0].tolist() == [3, 6]
    with pytest.raises(PackageError, match="never computed"):
        compile_function(fn.function(Ref("t")))


TENSOR = TensorType("fp32", (2,))
