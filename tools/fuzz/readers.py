"""The readers of files from strangers: what each is given, and what reading means.

Knows the packages' readers. Must not know how files are damaged (mutate.py) or how a run is watched.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import shutil
import struct
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .compiled import write_compiled

__all__ = ["Reader", "make_readers"]

SPEC = "Data/com.apple.CoreML/model.mlmodel"
WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"
TEXT = "Once upon a time, 3 naïve foxes\n\tran — 🦊 <|endoftext|> <unk> [INST]" + "a" * 50
CONFIG = {
    "model_type": "llama", "vocab_size": 60, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1,
    "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 64, "eos_token_id": 2,
    "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                     "original_max_position_embeddings": 32},
}  # fmt: skip


@dataclass(frozen=True)
class Reader:
    """One reader.

    Attributes:
        name: as in reports.
        kind: how its file is damaged (mutate.FORMATS).
        file: the file that is damaged.
        folder: good files.
        read: reads the folder as lilims does; raises a LilimsError where it does not like it.
    """

    name: str
    kind: str
    file: str
    folder: Path
    read: Callable[[Path], object]


def make_readers(work: Path) -> list[Reader]:
    """All readers, their good files below `work`. Those of other people's files are there where the test data is."""
    model, checkpoint = _model(work)
    package = _decode_only(_copy(model / "model.mlpackage", work / "decode"))
    compiled = write_compiled(work / "compiled.mlmodelc")
    bpe = _bpe(work / "bpe")
    readers = [
        Reader("safetensors", "safetensors", "model.safetensors", checkpoint, _read_tensors),
        Reader("shard index", "json", "model.safetensors.index.json", _sharded(checkpoint, work), _read_tensors),
        Reader("config", "json", "config.json", checkpoint, _read_config),
        Reader("generation config", "json", "generation_config.json", checkpoint, _read_config),
        Reader("gguf", "blob", "model.gguf", _gguf(work), _read_gguf),
        Reader("imatrix", "blob", "i.dat", _schemes(checkpoint, work), _read_schemes),
        Reader("recipe", "lines", "r.yaml", work / "schemes", _read_schemes),
        Reader("spec", "protobuf", SPEC, package, _read_package),
        Reader("blob", "blob", WEIGHTS, package, _read_package),
        Reader("package manifest", "json", "Manifest.json", package, _read_package),
        Reader("compiled text", "lines", "model.mil", compiled, _read_package),
        Reader("compiled metadata", "json", "metadata.json", compiled, _read_package),
        Reader("manifest", "json", "manifest.json", _without_digest(model), _read_manifest),
        Reader("tokenizer.json", "json", "tokenizer.json", bpe, _read_tokenizer),
        Reader("tokenizer.json wordpiece", "json", "tokenizer.json", _wordpiece(work / "wordpiece"), _read_tokenizer),
        Reader("tokenizer.json unigram", "json", "tokenizer.json", _unigram(work / "unigram"), _read_tokenizer),
        Reader("vocab", "json", "vocab.json", _pair(bpe, work), _read_tokenizer),
        Reader("merges", "lines", "merges.txt", work / "pair", _read_tokenizer),
        Reader("tokenizer config", "json", "tokenizer_config.json", work / "pair", _read_tokenizer),
        Reader("chat template", "lines", "chat_template.jinja", work / "pair", _read_chat),
        Reader("sampling defaults", "json", "generation_config.json", work / "pair", _read_chat),
    ]
    return (
        readers
        + list(_adapters(checkpoint, work))
        + list(_pickles(checkpoint, work))
        + [*_architectures(work), *_others(work)]
    )


def _adapters(checkpoint: Path, work: Path) -> Iterator[Reader]:
    """A LoRA adapter of the checkpoint: its tensors, its config."""
    import numpy as np

    from lilims.conversion.sources.checkpoint import open_checkpoint

    folder = _copy(checkpoint, work / "adapted")
    module = "model.layers.0.self_attn.q_proj"
    out, width = open_checkpoint(checkpoint).shape(f"{module}.weight")
    shapes = {"lora_A": (4, width), "lora_B": (out, 4)}
    header, data = {}, b""
    for name, shape in shapes.items():
        raw = np.full(shape, 0.25, "<f4").tobytes()
        place = [len(data), len(data) + len(raw)]
        header[f"base_model.model.{module}.{name}.weight"] = {"dtype": "F32", "shape": shape, "data_offsets": place}
        data += raw
    encoded = json.dumps(header).encode()
    (folder / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(encoded)) + encoded + data)
    config = {
        "peft_type": "LORA", "r": 4, "lora_alpha": 8, "bias": "none", "use_rslora": True, "fan_in_fan_out": False,
        "rank_pattern": {"v_proj": 2}, "alpha_pattern": {"q_proj": 16}, "modules_to_save": None, "use_dora": False,
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config))
    yield Reader("adapter", "safetensors", "adapter_model.safetensors", folder, _read_adapted)
    yield Reader("adapter config", "json", "adapter_config.json", folder, _read_adapted)


def _pickles(checkpoint: Path, work: Path) -> Iterator[Reader]:
    """The checkpoint as torch.save() writes it, where torch is installed."""
    if importlib.util.find_spec("torch") is None:
        return
    import torch

    from lilims.conversion.sources.checkpoint import open_checkpoint

    folder, source = _copy(checkpoint, work / "pickled"), open_checkpoint(checkpoint)
    (folder / "model.safetensors").unlink()
    torch.save({name: torch.from_numpy(source.tensor(name)) for name in source.names}, folder / "pytorch_model.bin")
    yield Reader("pytorch", "torch", "pytorch_model.bin", folder, _read_tensors)


def _architectures(work: Path) -> Iterator[Reader]:
    """The config of every architecture, as conversion's tests have them."""
    from lilims.conversion.random_checkpoint import write_random_checkpoint

    file = Path(__file__).parents[2] / "workstreams" / "ws01-conversion" / "tests" / "references" / "models.json"
    for name, model in json.loads(file.read_text())["models"].items():
        write_random_checkpoint(model["config"], work / name, seed=1)
        yield Reader(f"config {name}", "json", "config.json", work / name, _read_config)


def _others(work: Path) -> Iterator[Reader]:
    """Readers of files that other people made."""
    data = Path(os.environ.get("LILIMS_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
    for name in ("silero-vad-unified-v6.0.0", "unified_int8"):
        folder = data / "coreml" / "silero-vad" / f"{name}.mlpackage"
        if folder.is_dir():
            copied = _copy(folder, work / name)
            yield Reader(f"spec {name}", "protobuf", SPEC, copied, _read_package)
    models = {
        "sentencepiece bpe": "models/stories260K/tokenizer.model",
        "sentencepiece unigram": "tokenizers/sentencepiece/test_model.model",
        "llama2c": "models/stories260K/tok512.bin",
    }
    for name, file in models.items():
        if (data / file).is_file():
            (work / name).mkdir()
            kind, target = ("blob", "tokenizer.bin") if name == "llama2c" else ("protobuf", "tokenizer.model")
            shutil.copyfile(data / file, work / name / target)
            yield Reader(name, kind, target, work / name, _read_tokenizer)
    tokens = [*(bytes([byte]) for byte in range(256)), b"ab", b"abc", b" a", b"\xc3\xa9"]
    (work / "ranks").mkdir()
    lines = "".join(f"{b64encode(token).decode()} {rank}\n" for rank, token in enumerate(tokens))
    (work / "ranks" / "cl100k_base.tiktoken").write_text(lines)
    yield Reader("ranks", "lines", "cl100k_base.tiktoken", work / "ranks", _read_tokenizer)


# -- good files --------------------------------------------------------------------------------------------------------


def _model(work: Path) -> tuple[Path, Path]:
    from lilims.conversion import convert
    from lilims.conversion.random_checkpoint import write_random_checkpoint

    checkpoint = work / "checkpoint"
    write_random_checkpoint(CONFIG, checkpoint, seed=1)
    (checkpoint / "generation_config.json").write_text('{"bos_token_id": 1, "eos_token_id": [2, 3]}')
    return convert(checkpoint, work / "model").folder, checkpoint


def _decode_only(package: Path) -> Path:
    """The package without its other functions, which are alike: cases take a third of the time."""
    from lilims.runtime.portable.spec import parse_model

    path = package / SPEC
    spec = parse_model(path.read_bytes(), where=str(path))
    for name in ("prefill", "score"):
        del spec.mlProgram.functions[name]
    kept = [f for f in spec.description.functions if f.name == "decode"]
    del spec.description.functions[:]
    spec.description.functions.extend(kept)
    path.write_bytes(spec.SerializeToString())
    return package


def _without_digest(model: Path) -> Path:
    """The model with a manifest whose damages are not all found by its digest."""
    path = model / "manifest.json"
    raw = json.loads(path.read_text())
    del raw["digest"]
    path.write_text(json.dumps(raw))
    return model


def _copy(source: Path, target: Path) -> Path:
    """A copy that may be changed, whatever the rights of the original."""
    shutil.copytree(source, target, copy_function=shutil.copyfile)
    for folder in [target, *target.rglob("*")]:
        folder.chmod(0o755 if folder.is_dir() else 0o644)
    return target


def _sharded(checkpoint: Path, work: Path) -> Path:
    from lilims.conversion.sources.checkpoint import open_checkpoint

    folder = _copy(checkpoint, work / "sharded")
    index = {"weight_map": dict.fromkeys(open_checkpoint(checkpoint).names, "model.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def _gguf(work: Path) -> Path:
    from .gguf_file import write_gguf

    folder = work / "gguf"
    folder.mkdir()
    write_gguf(folder / "model.gguf")
    return folder


def _schemes(checkpoint: Path, work: Path) -> Path:
    """The checkpoint with an importance matrix and a recipe."""
    folder = _copy(checkpoint, work / "schemes")
    data = struct.pack("<i", 2)
    for name in (b"blk.0.attn_q.weight", b"output.weight"):
        data += struct.pack("<i", len(name)) + name + struct.pack("<ii64f", 1, 64, *[1.0] * 64)
    (folder / "i.dat").write_bytes(data)
    (folder / "r.yaml").write_text("default: int4\ntensors:\n  embedding: int8\n  'layers.*.mlp.*': lut4-r8\n")
    return folder


_WORDS = ["Once upon a time there was a fox who ran over the hills and far away."] * 9
_QUIET: dict[str, Any] = {"vocab_size": 320, "show_progress": False}


def _bpe(folder: Path) -> Path:
    """Byte-level BPE."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    backend: Any = Tokenizer(models.BPE())
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<|endoftext|>", "<s>"]
    return _save(backend, trainers.BpeTrainer(special_tokens=special, initial_alphabet=alphabet, **_QUIET), folder)


def _wordpiece(folder: Path) -> Path:
    """As BERT's, with a decoder that looks at its neighbours, truncation and padding."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    backend: Any = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer, backend.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    backend.enable_truncation(40)
    backend.enable_padding(length=8)
    return _save(backend, trainers.WordPieceTrainer(special_tokens=["[UNK]", "[CLS]", "[SEP]"], **_QUIET), folder)


def _unigram(folder: Path) -> Path:
    """As Llama's and T5's: a normaliser, Metaspace, byte fallback and Fuse."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    backend: Any = Tokenizer(models.Unigram())
    backend.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("  ", " ")])
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    steps: list[Any] = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    backend.decoder = decoders.Sequence(steps)
    return _save(backend, trainers.UnigramTrainer(special_tokens=["<unk>"], unk_token="<unk>", **_QUIET), folder)


def _save(backend: Any, trainer: Any, folder: Path) -> Path:
    backend.train_from_iterator(_WORDS, trainer)
    folder.mkdir()
    backend.save(str(folder / "tokenizer.json"))
    return folder


def _pair(bpe: Path, work: Path) -> Path:
    model = json.loads((bpe / "tokenizer.json").read_text())["model"]
    folder = work / "pair"
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
    lines = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *lines, ""]))
    added = {str(len(model["vocab"])): {"content": "<pad>", "special": True, "lstrip": False}}
    config = {"tokenizer_class": "GPT2Tokenizer", "eos_token": "<|endoftext|>", "added_tokens_decoder": added}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "chat_template.jinja").write_text(_TEMPLATE)
    sampling = {"eos_token_id": [0, 3], "do_sample": True, "temperature": 0.7, "top_k": 20, "top_p": 0.8, "min_p": 0.0}
    (folder / "generation_config.json").write_text(json.dumps(sampling))
    return folder


_TEMPLATE = """\
{%- set ns = namespace(last=-1, text='') %}
{%- macro shown(content, mark='<s>') %}{{- mark ~ content | trim }}{%- endmacro %}
{%- if tools %}{{- "Tools:" }}{%- for tool in tools %}{{- "\\n" + (tool | tojson(indent=2)) }}{%- endfor %}{%- endif %}
{%- for message in messages[::-1] if message.role == 'user' %}{%- set ns.last = loop.index0 %}{%- endfor %}
{%- for message in messages %}
    {%- if loop.first and message['role'] == 'system' %}{{- message.content }}{%- continue %}{%- endif %}
    {%- if message.content is string and '</think>' in message.content %}
        {%- set parts = message.content.split('</think>') %}
        {{- shown(parts[-1].lstrip('\\n'), mark='<think>') }}
    {%- elif message.role not in ['user', 'assistant'] %}
        {{- raise_exception('no role ' ~ message.role) }}
    {%- else %}
        {{- shown(message.content) + message.get('name', '') | default('', true) }}
    {%- endif %}
    {%- set ns.text = ns.text ~ message.content[2:9] | replace('a', 'b') | upper ~ loop.index * 3 %}
{%- endfor %}
{%- if add_generation_prompt %}{{- ns.text.join(['assistant', '\\n']) }}{%- endif %}
"""


# -- reading -----------------------------------------------------------------------------------------------------------


def _read_tensors(folder: Path) -> None:
    from lilims.conversion.sources.checkpoint import open_checkpoint

    checkpoint = open_checkpoint(folder)
    for name in checkpoint.names:
        checkpoint.tensor(name)


def _read_adapted(folder: Path) -> None:
    """The merged tensors."""
    from lilims.conversion.prepare import prepare

    checkpoint = prepare(folder, adapters=[folder]).checkpoint
    for name in checkpoint.names:
        checkpoint.tensor(name)


def _read_config(folder: Path) -> None:
    """What `convert` does before it writes anything."""
    from lilims.conversion.prepare import prepare

    prepare(folder)


def _read_schemes(folder: Path) -> None:
    """What `convert` makes of them."""
    from lilims.conversion.policy.plan import make_plan, read_wishes
    from lilims.conversion.prepare import prepare

    given = prepare(folder)
    wishes = read_wishes(recipe=folder / "r.yaml", imatrix=folder / "i.dat")
    make_plan(wishes, given.spec, given.names)


def _read_gguf(folder: Path) -> None:
    """What `convert` reads: header, metadata, tokenizer, and every tensor's values and form."""
    from lilims.conversion.prepare import prepare

    given = prepare(folder / "model.gguf")
    for name in given.checkpoint.names:
        given.checkpoint.tensor(name)
        if len(given.checkpoint.shape(name)) == 2 and given.checkpoint.keep is not None:
            given.checkpoint.keep(name)


def _read_package(folder: Path) -> None:
    from lilims.runtime import contract
    from lilims.runtime.portable.describe import describe_package
    from lilims.runtime.portable.package import Package
    from lilims.runtime.portable.program import Block, Constant, Function
    from lilims.runtime.portable.reader import read_program

    describe_package(folder)
    program = read_program(Package(folder))
    contract.interfaces(program)

    def constants(block: Block | Function) -> Iterator[Constant]:
        for op in block.ops:
            for argument in itertools.chain(*op.inputs.values(), op.attributes.values()):
                if isinstance(argument, Constant):
                    yield argument
            for inner in op.blocks:
                yield from constants(inner)

    for function in program.functions.values():
        for constant in constants(function):
            _load(constant)


def _load(constant: Any) -> None:
    from lilims.core.errors import LilimsError

    try:
        constant.load()
    except LilimsError:
        return  # one bad literal must not hide the next


def _read_manifest(folder: Path) -> None:
    from lilims.core.integrity import verify_files
    from lilims.core.manifest import read_manifest
    from lilims.runtime import contract

    manifest = read_manifest(folder)
    verify_files(folder, manifest, verify="sizes")
    contract.check_model(folder, manifest)
    contract.decoder_shape(manifest, package=folder / manifest.package)


def _read_tokenizer(folder: Path) -> None:
    from lilims.tokenizer import StreamDecoder, Tokenizer

    tokenizer = Tokenizer.load(folder)
    ids = tokenizer.encode(TEXT)
    tokenizer.encode(TEXT, parse_special=True)
    tokenizer.decode([*ids, 0, tokenizer.vocab_size, -1])
    stream = StreamDecoder(tokenizer)
    for token in (*ids[:20], 3, 0):
        stream.push(token)
    stream.finish()


def _read_chat(folder: Path) -> None:
    from lilims.tokenizer import Tokenizer, generation_defaults

    tokenizer = Tokenizer.load(folder)
    generation_defaults(folder)
    messages = [{"role": "system", "content": TEXT}, {"role": "user", "content": "Hi"}]
    messages += [{"role": "assistant", "content": "<think>a</think>Yo<|endoftext|>"}, {"role": "user", "content": TEXT}]
    tokenizer.encode_chat(messages)
    tokenizer.apply_chat_template(messages, tools=[{"type": "function", "function": {"name": "f"}}])
