"""Functions that become one graph, and caches of which a call uses the first places: against the functions alone."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lilims.runtime.portable import buffers
from lilims.runtime.portable.buffers import StateBuffers, fit_mask, places_needed
from lilims.runtime.portable.fusion import fuse
from lilims.runtime.portable.lowered import Group, group
from lilims.runtime.portable.lowering.scope import Precision
from lilims.runtime.portable.plan import Prefix
from lilims.runtime.portable.program import Function, Ref, TensorType, Value
from lilims.runtime.portable.session import Executable
from lilims.runtime.portable.sharing.family import Family, Member
from lilims.runtime.portable.sharing.prefix import free_rows

from .build import Fn, literal

LAYERS, HEADS, KV, DIM, WIDTH, WORDS, ROWS, CHUNK, BUCKET = 2, 4, 2, 8, 32, 64, 256, 8, 128
STATE = (2 * LAYERS, KV, ROWS, DIM)
RNG = np.random.default_rng(3)
WEIGHTS = {name: (RNG.normal(size=shape) / 4).astype(np.float16) for name, shape in {
    "embedding": (WORDS, WIDTH), "head": (WORDS, WIDTH),
    **{f"{i}.{kind}": (WIDTH if kind in "qo" else KV * DIM, WIDTH) for i in range(LAYERS) for kind in "qkvo"},
}.items()}  # fmt: skip


@dataclass
class Decoder:
    """A small decoder's function, written the way a converter writes it."""

    tokens: int
    last: bool = False
    rows: int = ROWS
    attention: str = "fused"
    quantized: str = "int4"
    head: str = "head"
    scale: float = 0.5
    fn: Fn = field(default_factory=Fn)

    def weight(self, name: str) -> Ref:
        values = WEIGHTS[name]
        if self.quantized == "fp16":
            return self.fn.const(values)
        codes = np.clip(np.rint(values.astype(np.float32) * 16), -8, 7).astype(np.int8)
        scale = np.full((codes.shape[0], codes.shape[1] // 16), 1 / 16, np.float16)
        data = literal(codes, self.quantized)
        return self.fn.op("constexpr_blockwise_shift_scale", ("fp16", values.shape), data=data, scale=scale)

    def linear(self, x: Ref, name: str, tokens: int) -> Ref:
        return self.fn.op(
            "linear", ("fp16", (1, tokens, WEIGHTS[name].shape[0])), x=x, weight=self.weight(name),
            bias=np.zeros(WEIGHTS[name].shape[0], np.float16),
        )  # fmt: skip

    def heads(self, x: Ref, count: int) -> Ref:
        fn, n = self.fn, self.tokens
        split = fn.op("reshape", ("fp16", (1, n, count, DIM)), x=x, shape=np.array([1, n, count, DIM], np.int32))
        turned = ("fp16", (1, count, n, DIM))
        return fn.op("transpose", turned, x=split, perm=np.array([0, 2, 1, 3], np.int32))

    def write(self, cache: Ref, row: int, new: Ref) -> Ref:
        fn, zero = self.fn, np.array([0], np.int32)
        begin = [fn.const(np.array([row, 0], np.int32)), Ref("slot"), fn.const(zero)]
        stop = fn.op("add", ("int32", (1,)), x=Ref("slot"), y=np.int32(self.tokens))
        end = [fn.const(np.array([row + 1, KV], np.int32)), stop, fn.const(np.array([DIM], np.int32))]
        bounds = {
            key: fn.op("concat", ("int32", (4,)), values=v, axis=0, interleave=False)
            for key, v in (("begin", begin), ("end", end))
        }
        fn.op(
            "write_state",
            input=Ref("cache"),
            data=fn.op("slice_update", ("fp16", STATE), x=cache, update=new, **bounds),
        )
        return fn.op("read_state", ("fp16", STATE), input=Ref("cache"))

    def read(self, cache: Ref, row: int) -> Ref:
        shape, end = (1, KV, self.rows, DIM), [row + 1, KV, self.rows, DIM]
        return self.fn.op("slice_by_index", ("fp16", shape), x=cache, begin=[row, 0, 0, 0], end=end)

    def attend(self, query: Ref, keys: Ref, values: Ref, mask: Ref) -> Ref:
        fn, count = self.fn, HEADS // KV * self.tokens
        if self.attention == "fused":
            return fn.op(
                "scaled_dot_product_attention", ("fp16", (1, KV, count, DIM)), query=query, key=keys, value=values,
                attn_mask=mask,
            )  # fmt: skip
        wide = ("fp16", (1, KV, count, self.rows))
        scores = fn.op("matmul", wide, x=query, y=keys, transpose_x=False, transpose_y=True)
        if self.attention == "capped":
            scores = fn.op("mul", wide, x=scores, y=np.float16(0.1))
            scores = fn.op("mul", wide, x=fn.op("tanh", wide, x=scores), y=np.float16(10))
        if self.attention != "unmasked":
            scores = fn.op("add", wide, x=scores, y=mask)
        shares = fn.op("softmax", wide, x=scores, axis=-1)
        if self.attention == "length":  # a product with all places: the length shows
            fn.op("write_state", input=Ref("other"), data=fn.op("reduce_sum", ("fp16", ()), x=shares))
        return fn.op("matmul", ("fp16", (1, KV, count, DIM)), x=shares, y=values, transpose_x=False, transpose_y=False)

    def function(self) -> Function:
        fn, n = self.fn, self.tokens
        ids = fn.input("ids", "int32", (1, n))
        fn.input("slot", "int32", (1,))
        mask = fn.input("mask", "fp16", (1, 1, n, self.rows))
        last = fn.input("last", "int32", (1,)) if self.last else None
        fn.state("cache", STATE)
        if self.attention == "length":
            fn.state("other", ())
        if n > 1:
            reps = np.array([1, 1, HEADS // KV, 1], np.int32)
            mask = fn.op("tile", ("fp16", (1, 1, HEADS // KV * n, self.rows)), x=mask, reps=reps)
        cache = fn.op("read_state", ("fp16", STATE), input=Ref("cache"))
        rows = ("fp16", (1, n, WIDTH))
        x = fn.op("gather", rows, x=self.weight("embedding"), indices=ids, axis=0, batch_dims=0)
        for i in range(LAYERS):
            query = self.heads(self.linear(x, f"{i}.q", n), HEADS)
            cache = self.write(cache, 2 * i, self.heads(self.linear(x, f"{i}.k", n), KV))
            cache = self.write(cache, 2 * i + 1, self.heads(self.linear(x, f"{i}.v", n), KV))
            query = fn.op("mul", ("fp16", (1, HEADS, n, DIM)), x=query, y=np.float16(self.scale))
            grouped = (1, KV, HEADS // KV * n, DIM)
            query = fn.op("reshape", ("fp16", grouped), x=query, shape=np.array(grouped, np.int32))
            mixed = self.attend(query, self.read(cache, 2 * i), self.read(cache, 2 * i + 1), mask)
            apart = (1, HEADS, n, DIM)
            mixed = fn.op("reshape", ("fp16", apart), x=mixed, shape=np.array(apart, np.int32))
            mixed = fn.op("slice_by_index", ("fp16", apart), x=mixed, begin=[0, 0, 0, 0], end=list(apart))
            mixed = fn.op("transpose", ("fp16", (1, n, HEADS, DIM)), x=mixed, perm=np.array([0, 2, 1, 3], np.int32))
            mixed = fn.op("reshape", rows, x=mixed, shape=np.array([1, n, WIDTH], np.int32))
            x = fn.op("add", rows, x=x, y=self.linear(mixed, f"{i}.o", n))
        if last is not None:
            x = fn.op("gather", ("fp16", (1, 1, WIDTH)), x=x, indices=last, axis=1, batch_dims=0)
        self.linear(x, self.head, 1 if last is not None else n)
        head = fn.ops.pop()
        fn.ops.append(replace(head, outputs=(Value("logits", head.outputs[0].type),)))
        return fn.function(Ref("logits"))


def functions(**options: Any) -> dict[str, Function]:
    return {
        "decode": Decoder(1, **options).function(),
        "prefill": Decoder(CHUNK, last=True, **options).function(),
        "score": Decoder(CHUNK, **options).function(),
        "decode_128": Decoder(1, rows=BUCKET, **options).function(),
        "prefill_128": Decoder(CHUNK, last=True, rows=BUCKET, **options).function(),
    }


def apart(all_of_them: dict[str, Function], precision: Precision) -> list[Group]:
    """Each function its own graph, over the whole cache."""
    return [
        Group(Family(fuse(function, precision), {name: Member({}, {})}), {name: None})
        for name, function in all_of_them.items()
    ]


class Model:
    """Groups of functions, opened, over one state."""

    def __init__(self, groups: list[Group], precision: Precision) -> None:
        self.opened = {}
        for found in groups:
            lowered = found.lower(precision)
            executable = Executable(lowered.graph, threads=1)
            self.opened.update({name: (executable, call) for name, call in lowered.calls.items()})
        self.state = StateBuffers({"cache": TensorType("fp16", STATE)})

    def __call__(self, name: str, ids: list[int], slot: int, hidden: float = -1e4) -> NDArray[Any]:
        tokens, rows = 1 if "decode" in name else CHUNK, BUCKET if "128" in name else ROWS
        padded = np.zeros((1, tokens), np.int32)
        padded[0, : len(ids)] = ids
        mask = np.full((1, 1, tokens, rows), hidden, np.float32)
        for i in range(tokens):
            mask[0, 0, i, : slot + i + 1] = 0
        feeds = {"ids": padded, "slot": np.array([slot], np.int32), "mask": mask}
        if "prefill" in name:
            feeds["last"] = np.array([len(ids) - 1], np.int32)
        executable, call = self.opened[name]
        logits = executable.run(feeds, self.state, call)[0][0]
        return logits[:, : len(ids)] if name == "score" else logits


STREAM = [
    ("prefill", 8), ("decode", 1), ("prefill_128", 5), ("decode_128", 1), ("score", 8), ("score", 3), ("prefill", 8),
    ("decode", 1), ("prefill", 8), ("prefill", 8), ("prefill", 8), ("score", 8), ("decode", 1), ("prefill_128", 7),
]  # fmt: skip


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buffers, "_STEP", 64)


def test_graphs_that_check_every_result_stand_alone() -> None:
    all_of_them = functions()
    groups = group(all_of_them, "fp16")
    assert [sorted(found.family.members) for found in groups] == [[name] for name in all_of_them]


@pytest.mark.parametrize("precision", ["exact", "fast"])
@pytest.mark.parametrize("quantized", ["int4", "int8", "fp16"])
@pytest.mark.parametrize("attention", ["fused", "decomposed", "capped"])
def test_one_graph_is_each_of_them(attention: str, quantized: str, precision: Any) -> None:
    all_of_them = functions(attention=attention, quantized=quantized)
    groups = group(all_of_them, precision)
    assert [sorted(found.family.members) for found in groups] == [sorted(all_of_them)]
    shared, alone = Model(groups, precision), Model(apart(all_of_them, precision), precision)
    assert len({id(executable) for executable, _ in shared.opened.values()}) == 1
    slot = 0
    for turn, (name, count) in enumerate(STREAM):
        ids = np.random.default_rng(turn).integers(0, WORDS, count).tolist()
        found, wanted = shared(name, ids, slot), alone(name, ids, slot)
        assert found.shape == wanted.shape
        assert np.isfinite(wanted).all()
        assert np.array_equal(found, wanted), f"turn {turn}: {name} at {slot}"
        slot += count
    held = shared.state.part(shared.opened["decode"][0]._slots[0]).shape
    assert held == (1, KV, 128, DIM)  # of 256, for 75 tokens
    assert np.array_equal(shared.state.read("cache", 2, slot), alone.state.read("cache", 2, slot))


def test_many_queries_are_one_kernel_and_few_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph of both asks at each call; functions of one size are told apart before."""
    monkeypatch.setattr("lilims.runtime.portable.lowering.ops.attention._MANY", CHUNK)
    all_of_them = functions()
    (shared,) = group(all_of_them, "exact")
    kinds = {"shared": shared, **{next(iter(g.family.members)): g for g in apart(all_of_them, "exact")}}
    nodes = {name: {n.op_type for n in g.lower("exact").graph.model.graph.node} for name, g in kinds.items()}
    assert [{"If", "Attention", "Softmax"} & nodes[name] for name in ("shared", "prefill", "decode")] == [
        {"If"}, {"Attention"}, {"Softmax"},
    ]  # fmt: skip
    one, alone = Model([shared], "exact"), Model(apart(all_of_them, "exact"), "exact")
    for turn, (name, slot) in enumerate([("prefill", 0), ("decode", 8), ("score", 9), ("prefill", 60)]):
        ids = [turn + 1] if name == "decode" else list(range(turn, turn + CHUNK))
        assert np.allclose(one(name, ids, slot), alone(name, ids, slot), rtol=1e-5, atol=1e-5), name


@pytest.mark.parametrize(
    "odd",
    [{"head": "embedding"}, {"scale": 0.25}, {"quantized": "fp16"}, {"attention": "capped"}],
    ids=["other weight", "other literal", "other scheme", "other ops"],
)
def test_what_differs_stays_apart(odd: dict[str, Any]) -> None:
    prefill, decode = (
        Decoder(CHUNK, last=True, attention="decomposed"),
        Decoder(1, **{"attention": "decomposed", **odd}),
    )
    found = group({"prefill": prefill.function(), "decode": decode.function()}, "exact")
    assert sorted(sorted(g.family.members) for g in found) == [["decode"], ["prefill"]]


def test_the_plain_graph_is_each_function_alone() -> None:
    assert len(group(functions(), "exact", fused=False)) == 5


@pytest.mark.parametrize("attention", ["unmasked", "length"])
def test_a_cache_whose_length_shows_is_used_whole(attention: str) -> None:
    """Without a mask, or where the shares are summed up over all places, an unused place would be missed."""
    function = fuse(Decoder(CHUNK, attention=attention).function(), "exact")
    assert free_rows(function) == (function, None)


def test_what_chooses_the_places() -> None:
    _, prefix = free_rows(fuse(Decoder(CHUNK, rows=BUCKET).function(), "exact"))
    assert prefix == Prefix("cache", 2, "slot", CHUNK, ("mask",), BUCKET)


def test_places_that_a_mask_shows_are_used() -> None:
    """A ring over the cache shows places behind the slot; a query that sees nothing spreads over all of them."""
    mask = np.full((1, 1, 2, 20), -1e4, np.float32)
    mask[..., :6] = 0
    assert places_needed(2, 4, [mask], 20) == 6
    mask[0, 0, 1, 11] = -50
    assert places_needed(2, 4, [mask], 20) == 12
    assert places_needed(2, 19, [mask], 20) == 20
    assert places_needed(2, -1, [mask], 20) == 20
    mask[0, 0, 0] = -1e4
    assert places_needed(2, 4, [mask], 20) == 20


def test_masks_are_cut_and_continued() -> None:
    mask = np.zeros((1, 1, 2, 4), np.float32)
    assert fit_mask(mask, 3).shape == (1, 1, 2, 3)
    assert fit_mask(mask, 6)[0, 0, 1].tolist() == [0, 0, 0, 0, -1e4, -1e4]


def test_a_cache_grows_and_keeps_its_content() -> None:
    state = StateBuffers({"cache": TensorType("fp16", STATE)})
    assert state.reserve("cache", 2, 10) == 64
    values = RNG.normal(size=(4, KV, 50, DIM)).astype(np.float16)
    state.write("cache", 2, values)
    assert state.reserve("cache", 2, 30) == 64
    assert state.reserve("cache", 2, 65) == 128
    assert np.array_equal(state.read("cache", 2, 50), values)
    assert not state.read("cache", 2, 200)[:, :, 50:].any()
    assert state.reserve("cache", 2, 250) == ROWS
    version = state.version
    whole = state.whole("cache")
    assert state.version > version
    assert np.array_equal(whole[:, :, :50], values)
    assert not whole[:, :, 50:].any()
    whole[:, :, 60] = 1
    assert state.read("cache", 2, 61, np.float16)[:, :, 60].all()
    assert state.reserve("cache", 2, 10) == ROWS
