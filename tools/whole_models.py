"""Small models of transformers with random weights, traced and converted by coremltools: what the executor runs whole.

    hatch run parity:python tools/whole_models.py            the table of docs/running-packages.md, all models
    hatch run parity:python tools/whole_models.py bert t5    some

Knows transformers, torch and coremltools' converter. Must not know the executor beyond `MLModel`. What coremltools 9
cannot trace of transformers 5 is gone around here: attention is eager, masks are inputs.

The table has the relative root mean square of what differs from torch's float32 result, of the worst output.
"""

from __future__ import annotations

import gc
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
SEED = 7
HIDDEN = -1e4  # of masks: fp16 holds it
VOCAB, WIDTH, HEADS, LAYERS = 97, 48, 4, 2
TOKENS, PAST, PATCHES = 12, 5, (3, 32, 32)


@dataclass(frozen=True)
class Whole:
    """A model to run.

    Attributes:
        name: as tests and the table have it.
        outputs: names of what it returns.
    """

    name: str
    _make: Callable[[], tuple[Any, Arrays]]
    outputs: tuple[str, ...]

    def make(self) -> tuple[Any, Arrays]:
        """A module in eval mode whose forward takes tensors by position, and its inputs in that order."""
        import torch

        with torch.random.fork_rng():
            torch.manual_seed(SEED)
            return self._make()


def _bert() -> tuple[Any, Arrays]:
    """Encoder and pooler; the last three places are padding."""
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=VOCAB, hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        intermediate_size=2 * WIDTH, max_position_embeddings=32, attn_implementation="eager",
    )  # fmt: skip

    def forward(model: Any, ids: Any, mask: Any) -> Any:
        found = model(input_ids=ids, attention_mask=(1 - mask[:, None, None, :]) * HIDDEN)
        return found.last_hidden_state, found.pooler_output

    mask = np.ones((1, TOKENS), np.float32)
    mask[:, -3:] = 0
    return _module(BertModel(config), forward), {"ids": _ids(TOKENS), "mask": mask}


def _vit() -> tuple[Any, Arrays]:
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS, intermediate_size=2 * WIDTH,
        image_size=PATCHES[1], patch_size=8, num_labels=10, attn_implementation="eager",
    )  # fmt: skip

    def forward(model: Any, pixels: Any) -> Any:
        return model(pixel_values=pixels).logits

    return _module(ViTForImageClassification(config), forward), {"pixels": _normal(1, *PATCHES)}


def _whisper_config() -> Any:
    from transformers import WhisperConfig

    return WhisperConfig(
        vocab_size=VOCAB, d_model=WIDTH, encoder_layers=LAYERS, decoder_layers=LAYERS, encoder_attention_heads=HEADS,
        decoder_attention_heads=HEADS, encoder_ffn_dim=2 * WIDTH, decoder_ffn_dim=2 * WIDTH, max_source_positions=20,
        max_target_positions=24, num_mel_bins=16, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        decoder_start_token_id=1, attn_implementation="eager",
    )  # fmt: skip


def _whisper() -> Any:
    from transformers import WhisperForConditionalGeneration

    return WhisperForConditionalGeneration(_whisper_config())


def _whisper_encoder() -> tuple[Any, Arrays]:
    def forward(model: Any, mel: Any) -> Any:
        return model.model.encoder(mel).last_hidden_state

    return _module(_whisper(), forward), {"mel": _normal(1, 16, 40)}


def _whisper_decoder() -> tuple[Any, Arrays]:
    """All tokens at once, under a causal mask."""

    def forward(model: Any, ids: Any, states: Any, mask: Any) -> Any:
        found = model.model.decoder(input_ids=ids, attention_mask=mask, encoder_hidden_states=states, use_cache=False)
        return model.proj_out(found.last_hidden_state)

    mask = np.triu(np.full((1, 1, TOKENS, TOKENS), HIDDEN, np.float32), 1)
    return _module(_whisper(), forward), {"ids": _ids(TOKENS), "states": _normal(1, 20, WIDTH), "mask": mask}


def _whisper_step() -> tuple[Any, Arrays]:
    """One token behind a cache that goes in and comes out, [layers, 2, heads, places, width of a head]."""
    from transformers.cache_utils import DynamicCache, EncoderDecoderCache

    def forward(model: Any, ids: Any, states: Any, cache: Any, position: Any) -> Any:
        own = DynamicCache([(cache[i, 0][None], cache[i, 1][None]) for i in range(LAYERS)])
        both = EncoderDecoderCache(own, DynamicCache([(states, states)] * 0))
        import torch

        mask = torch.zeros(1, 1, 1, PAST + 1)
        found = model.model.decoder(
            input_ids=ids, attention_mask=mask, encoder_hidden_states=states, past_key_values=both, use_cache=True,
            position_ids=position,
        )  # fmt: skip
        new = torch.stack([torch.stack([layer.keys[0], layer.values[0]]) for layer in own.layers])
        return model.proj_out(found.last_hidden_state), new

    cache = _normal(LAYERS, 2, HEADS, PAST, WIDTH // HEADS)
    inputs = {"ids": _ids(1), "states": _normal(1, 20, WIDTH), "cache": cache}
    return _module(_whisper(), forward), {**inputs, "position": np.array([[PAST]], np.int32)}


def _t5() -> Any:
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=VOCAB, d_model=WIDTH, d_kv=WIDTH // HEADS, d_ff=2 * WIDTH, num_layers=LAYERS, num_heads=HEADS,
        num_decoder_layers=LAYERS, relative_attention_num_buckets=8, relative_attention_max_distance=10,
        feed_forward_proj="gated-gelu", decoder_start_token_id=0, attn_implementation="eager",
    )  # fmt: skip
    return T5ForConditionalGeneration(config)


def _t5_encoder() -> tuple[Any, Arrays]:
    def forward(model: Any, ids: Any, mask: Any) -> Any:
        return model.encoder(input_ids=ids, attention_mask=(1 - mask[:, None, None, :]) * HIDDEN).last_hidden_state

    mask = np.ones((1, TOKENS), np.float32)
    mask[:, -3:] = 0
    return _module(_t5(), forward), {"ids": _ids(TOKENS), "mask": mask}


def _t5_decoder() -> tuple[Any, Arrays]:
    def forward(model: Any, ids: Any, states: Any, mask: Any) -> Any:
        found = model.decoder(
            input_ids=ids, attention_mask=mask, encoder_hidden_states=states,
            encoder_attention_mask=mask[:, :, :1, :1] * 0, use_cache=False,
        )  # fmt: skip
        return model.lm_head(found.last_hidden_state)

    mask = np.triu(np.full((1, 1, TOKENS, TOKENS), HIDDEN, np.float32), 1)
    return _module(_t5(), forward), {"ids": _ids(TOKENS), "states": _normal(1, 9, WIDTH), "mask": mask}


def _clip() -> tuple[Any, Arrays]:
    """Two texts and an image: the similarities of each text."""
    from transformers import CLIPConfig, CLIPModel

    both = {
        "hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
    }  # fmt: skip
    text = {**both, "vocab_size": VOCAB, "max_position_embeddings": 16, "eos_token_id": VOCAB - 1}
    vision = {**both, "image_size": PATCHES[1], "patch_size": 8}
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=32, attn_implementation="eager")

    def forward(model: Any, ids: Any, mask: Any, pixels: Any) -> Any:
        found = model(input_ids=ids, pixel_values=pixels, attention_mask=mask)
        return found.logits_per_text, found.text_embeds, found.image_embeds

    ids = _ids(TOKENS, rows=2)
    ids[0, 7], ids[1, 4] = VOCAB - 1, VOCAB - 1
    mask = np.triu(np.full((1, 1, TOKENS, TOKENS), HIDDEN, np.float32), 1)
    return _module(CLIPModel(config), forward), {"ids": ids, "mask": mask, "pixels": _normal(1, *PATCHES)}


MODELS = {
    model.name: model
    for model in (
        Whole("bert", _bert, ("states", "pooled")),
        Whole("vit", _vit, ("logits",)),
        Whole("whisper encoder", _whisper_encoder, ("states",)),
        Whole("whisper decoder", _whisper_decoder, ("logits",)),
        Whole("whisper step", _whisper_step, ("logits", "new_cache")),
        Whole("t5 encoder", _t5_encoder, ("states",)),
        Whole("t5 decoder", _t5_decoder, ("logits",)),
        Whole("clip", _clip, ("similarity", "texts", "images")),
    )
}


def _ids(count: int, rows: int = 1) -> NDArray[np.int32]:
    return np.random.default_rng(SEED).integers(3, VOCAB - 1, (rows, count)).astype(np.int32)


def _normal(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(SEED).standard_normal(shape).astype(np.float32)


def _module(model: Any, forward: Callable[..., Any]) -> Any:
    """A module around `forward(model, …)`; weights of such a size that attention is not even and norms differ."""
    import torch

    class Module(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *inputs: Any) -> Any:
            return forward(self.model, *inputs)

    random = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=random)
            if parameter.ndim > 1:
                parameter.copy_(noise * 2 / parameter[0].numel() ** 0.5)
            else:
                parameter.add_(0.2 * noise)
    return Module().eval()


def expected(module: Any, inputs: Arrays, outputs: tuple[str, ...]) -> Arrays:
    """What torch computes in float32."""
    import torch

    with torch.no_grad():
        found = module(*map(torch.from_numpy, inputs.values()))
    found = found if isinstance(found, tuple) else (found,)
    return {name: tensor.numpy() for name, tensor in zip(outputs, found, strict=True)}


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings of transformers, torch and coremltools."""
    import logging

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in ("coremltools", "transformers"):
            logging.getLogger(name).setLevel(logging.ERROR)
        yield
        gc.collect()  # coremltools leaves temporary folders to the collector, which would warn later


@contextmanager
def _casts_of_vectors() -> Iterator[None]:
    """coremltools 9 makes numbers of arrays of one element by int(), which NumPy refuses from 2.4 on."""
    from coremltools.converters.mil import Builder
    from coremltools.converters.mil.frontend.torch import ops

    original = ops._cast

    def cast(context: Any, node: Any, dtype: Any, dtype_name: str) -> None:
        value = context[node.inputs[0]].val
        if isinstance(value, np.ndarray) and value.ndim and value.size == 1:
            context.add(Builder.const(val=dtype(value.item()), name=node.name), node.name)
        else:
            original(context, node, dtype, dtype_name)

    ops._cast = cast
    try:
        yield
    finally:
        ops._cast = original


def convert(module: Any, inputs: Arrays, outputs: tuple[str, ...], precision: str, shapes: Any = None) -> Any:
    """A package as coremltools makes it, in "fp32" or "fp16"; an `MLModel` of coremltools that is not loaded.

    Args:
        shapes: input name to coremltools' shape of it, where that is not the array's.
    """
    import coremltools as ct
    import torch

    with torch.no_grad():
        traced = torch.jit.trace(module, tuple(map(torch.from_numpy, inputs.values())), check_trace=False)
    taken = [
        ct.TensorType(name, shape=(shapes or {}).get(name, array.shape), dtype=array.dtype.type)
        for name, array in inputs.items()
    ]
    with _casts_of_vectors():
        return ct.convert(
            traced,
            inputs=taken,
            outputs=[ct.TensorType(name) for name in outputs],
            convert_to="mlprogram",
            minimum_deployment_target=ct.target.iOS18,
            compute_precision=ct.precision.FLOAT32 if precision == "fp32" else ct.precision.FLOAT16,
            compute_units=ct.ComputeUnit.CPU_ONLY,
            skip_model_load=True,
        )


def compress(package: Any, how: str) -> Any:
    """A package with compressed weights, as coremltools makes it: one of `COMPRESSIONS`."""
    import coremltools.optimize.coreml as cto

    configs = {
        "int8 per channel": cto.OpLinearQuantizerConfig(mode="linear_symmetric", dtype="int8", weight_threshold=256),
        "4-bit table": cto.OpPalettizerConfig(
            mode="uniform", nbits=4, granularity="per_grouped_channel", group_size=8, weight_threshold=256
        ),
        "sparse": cto.OpMagnitudePrunerConfig(target_sparsity=0.5, weight_threshold=256),
    }
    apply = {
        "int8 per channel": cto.linear_quantize_weights,
        "4-bit table": cto.palettize_weights,
        "sparse": cto.prune_weights,
    }[how]
    return apply(package, cto.OptimizationConfig(global_config=configs[how]))


COMPRESSIONS = ("int8 per channel", "4-bit table", "sparse")


def error(found: Arrays, wanted: Arrays) -> float:
    """The largest relative error of an output: root of the mean square of the difference over that of the output."""
    return max(
        float(np.linalg.norm(found[name].astype(np.float64) - array) / np.linalg.norm(array.astype(np.float64)))
        for name, array in wanted.items()
    )


def measure(model: Whole, folder: Path) -> list[float]:
    """Errors against torch in float32: the fp32 package; the fp16 package, computed in float32; rounded throughout."""
    from lilims.runtime.portable import MLModel

    module, inputs = model.make()
    wanted = expected(module, inputs, model.outputs)
    paths = {}
    for precision in ("fp32", "fp16"):
        paths[precision] = folder / f"{model.name}-{precision}.mlpackage"
        convert(module, inputs, model.outputs, precision).save(str(paths[precision]))
    runs = (
        MLModel(paths["fp32"], precision="exact"),
        *(MLModel(paths["fp16"], precision=p) for p in ("exact", "fp16")),
    )
    return [error(run.predict(inputs), wanted) for run in runs]


def main() -> int:
    chosen = [m for m in MODELS.values() if not sys.argv[1:] or m.name.startswith(tuple(sys.argv[1:]))]
    print("| model | fp32 package | fp16 package in float32 | fp16 package in fp16 |\n|---|---|---|---|")
    with quiet(), tempfile.TemporaryDirectory() as folder:
        for model in chosen:
            errors = measure(model, Path(folder))
            print(f"| {model.name} | {' | '.join(f'{found:.1e}' for found in errors)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
