"""Every mistake and every damaged file is one clear line: what, where, what next; and nothing is left half-written.

The lines are those of docs/troubleshooting.md, where `…` stands for what differs from case to case; the last test
holds the table against the cases.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from lilims.core import cli
from lilims.core.console import console
from lilims.core.settings import settings
from lilims.core.testing import test_data

from . import test_disk_full
from .bad_input import checkpoints, packages
from .bad_input.checkpoints import Damage

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="coremltools 9 has no Windows build")
ROOT = Path(__file__).parents[1]
TABLE = ROOT / "docs" / "troubleshooting.md"
STORIES = ROOT / "workstreams" / "ws05-model-manager" / "src" / "lilims" / "models" / "builtin" / "stories"


@dataclass(frozen=True)
class Case:
    """One thing that is wrong.

    Attributes:
        damage: changes the good folder (a checkpoint or a model) that it is given.
        says: the error line, `…` for what varies.
        arguments: of the command; `{}` is the damaged folder.
        code: the exit code.
    """

    damage: Damage
    says: str
    arguments: tuple[str, ...]
    code: int = 1


def nothing(folder: Path) -> None:
    """The folder is good; the command is wrong."""


def convert(damage: Damage, says: str, *options: str, code: int = 1, source: str = "{}") -> Case:
    return Case(damage, says, ("convert", source, "-o", "out", *options), code)


def run(damage: Damage, says: str, *options: str, model: str = "{}") -> Case:
    return Case(damage, says, ("run", model, *(options or ("Once", "-n", "2"))))


def evaluate(damage: Damage, says: str, text: str = "text.txt", *options: str, code: int = 1) -> Case:
    return Case(damage, says, ("eval", "{}", "--text", text, *options), code)


def bench(damage: Damage, says: str, *options: str, group: str = "", code: int = 1) -> Case:
    model = () if group == "gate" else ("{}",)
    return Case(damage, says, ("bench", *([group] if group else []), *model, *options), code)


def export(damage: Damage, says: str, *options: str, output: str = "out", code: int = 1) -> Case:
    return Case(damage, says, ("export", "{}", "--to", "swift", "-o", output, *options), code)


c, p = checkpoints, packages
CONVERT: dict[str, Case] = {
    "no folder": convert(nothing, "…: no such folder", source="nowhere"),
    "a file": convert(nothing, "…: is a file; a checkpoint is a folder with …",
                      source="{}/config.json"),
    "no config": convert(c.without("config.json"), "…config.json: no such file"),
    "config cut off": convert(c.text("config.json", '{"a": '), "…config.json: not valid JSON: …"),
    "config key twice": convert(c.text("config.json", '{"a": 1, "a": 2}'),
                                "…config.json: not valid JSON: the key … stands twice"),
    "config too deep": convert(c.text("config.json", "[" * 100_000), "…config.json: not valid JSON: …"),
    "config is a list": convert(c.text("config.json", "[]"), "…config.json: not a JSON object"),
    "config without model_type": convert(c.config(model_type=None), "…config.json: has no model_type"),
    "unknown model_type": convert(c.config(model_type="bert"), "…config.json: model_type … is not supported"),
    "unknown activation": convert(c.config(hidden_act="swiglu9"),
                                  "…config.json: … is …, which lilims does not support"),
    "looks ahead": convert(c.config(model_type="gemma", use_bidirectional_attention=True),
                           "…config.json: … is …; lilims supports … only"),
    "rope": convert(c.config(rope_scaling={"rope_type": "new"}), "config.json: rope…: … is not one of …"),
    "layers as text": convert(c.config(num_hidden_layers="3"),
                              "…config.json: … must be a positive whole number, not …"),
    "too many layers": convert(c.config(num_hidden_layers=100_000),
                               "…config.json: … is …, more than the … that are taken"),
    "no layers": convert(c.config(num_hidden_layers=None), "…config.json: has no 'num_hidden_layers'"),
    "odd heads": convert(c.config(num_key_value_heads=3), "…config.json: … is not a multiple of …"),
    "eos outside": convert(c.config(eos_token_id=[2, 100]), "…config.json: … is …, outside the vocabulary of …"),
    "no tensors": convert(c.without("model.safetensors"), "…: holds neither model.safetensors nor …"),
    "pickled tensors only": convert(c.pickled, "…pytorch_model.bin: is no archive as torch.save() writes …"),
    "shard outside": convert(c.shard("../t.safetensors"), "…index.json: names the file … outside its folder"),
    "shard lost": convert(c.shard("t.safetensors"), "…t.safetensors: cannot be read: …"),
    "tensors cut off": convert(c.cut("model.safetensors", 40_000),
                               "…model.safetensors: tensor …: its shape or offsets lie outside the file"),
    "header cut off": convert(c.cut("model.safetensors", 100), "…model.safetensors: truncated or not a safetensors …"),
    "header oversized": convert(c.header_length(1 << 60), "…model.safetensors: truncated or not a safetensors …"),
    "header corrupt": convert(c.overwrite("model.safetensors", 9, b"\xff\0{"),
                              "…model.safetensors: the header is not valid JSON: …"),
    "header key twice": convert(c.duplicate_key, "…model.safetensors: the header's key … stands twice"),
    "header lies": convert(c.entry("model.norm.weight", shape=[63]),
                           "…model.safetensors: tensor …: shape … of … does not fill … bytes"),
    "unknown dtype": convert(c.entry("model.norm.weight", dtype="F7"), "…model.safetensors: tensor …: unknown dtype …"),
    "tensor missing": convert(c.tensors(lambda t: t.pop("model.norm.weight")), "…: tensor … is missing"),
    "tensor extra": convert(c.tensors(lambda t: t.update({"model.layers.0.extra": np.ones(2, np.float32)})),
                            "…: tensor … (… in all) is not part of a … decoder"),
    "tensor misshapen": convert(c.tensors(lambda t: t.update({"lm_head.weight": t["lm_head.weight"][:-1]})),
                                "…: tensor … has shape …, the config says …"),
    "tensor integer": convert(c.tensors(lambda t: t.update({"lm_head.weight": t["lm_head.weight"].astype("<i4")})),
                              "…: tensor … is …, not floating point"),
    "weights NaN": convert(c.tensors(lambda t: t["lm_head.weight"].__setitem__((3, 3), np.nan)),
                           "…: tensor … holds NaN or infinite values"),
    "weights infinite": convert(c.tensors(lambda t: t["model.norm.weight"].__setitem__(3, -np.inf)),
                                "…: tensor … holds NaN or infinite values"),
    "weights beyond fp16": convert(c.tensors(lambda t: t["model.norm.weight"].__setitem__(3, 1e6)),
                                   "…: a value of … does not fit fp16"),
    "group size": convert(nothing, "--group-size must be one of 16, 32, 64, 128, not …", "--group-size", "33", code=2),
    "scheme": convert(nothing, "--quantize: … is not a scheme", "--quantize", "int3", code=2),
    "no recipe": convert(nothing, "…: cannot be read: …", "--recipe", "r.yaml"),
    "recipe cut off": convert(c.text("r.yaml", "tensors: {"), "…r.yaml:…: not valid YAML: …", "--recipe", "{}/r.yaml"),
    "recipe key": convert(c.text("r.yaml", "rules: {}"), "…r.yaml:1: unknown key …", "--recipe", "{}/r.yaml"),
    "recipe key twice": convert(c.text("r.yaml", "default: int4\ndefault: int8"), "…r.yaml:2: the key … stands twice",
                                "--recipe", "{}/r.yaml"),
    "recipe scheme": convert(c.text("r.yaml", "tensors: {head: int5}"),
                             "…r.yaml:1: … is not a scheme", "--recipe", "{}/r.yaml"),
    "recipe of nothing": convert(c.text("r.yaml", "tensors:\n  heads: int8"), "…r.yaml:2: … matches no tensor",
                                 "--recipe", "{}/r.yaml"),
    "recipe too late": convert(c.text("r.yaml", "tensors:\n  '*': int8\n  head: int4"),
                               "…r.yaml:3: … matches only tensors that lines above it take", "--recipe", "{}/r.yaml"),
    "recipe of norms": convert(c.text("r.yaml", "tensors: {final_norm.weight: int8}"),
                               "…r.yaml:1: … cannot make vectors …: they stay fp16", "--recipe", "{}/r.yaml"),
    "imatrix of text": convert(c.text("i.dat", "importance"), "…i.dat: is no importance matrix: …",
                               "--imatrix", "{}/i.dat"),
    "imatrix cut off": convert(c.text("i.dat", "\1\0\0\0\7\0\0\0out"), "…i.dat: ends in the middle of an entry",
                               "--imatrix", "{}/i.dat"),
    "imatrix of another": convert(c.text("i.dat", "\1\0\0\0\x0d\0\0\0output.weight\1\0\0\0\1\0\0\0\0\0\0\0"),
                                  "…i.dat: … has … values, the model's matrix … inputs", "--imatrix", "{}/i.dat"),
    "imatrix of nothing": convert(c.text("i.dat", "\1\0\0\0\1\0\0\0a\1\0\0\0\1\0\0\0\0\0\0\0"),
                                  "…i.dat: covers no tensor of this model", "--imatrix", "{}/i.dat"),
    "context": convert(nothing, "--context … is outside the model's … positions", "--context", "65", code=2),
    "jobs": convert(nothing, "--jobs must be 1 to 64, not …", "--jobs", "65", code=2),
    "name": convert(nothing, "--name … is not a name", "--name", "my model", code=2),
    "output exists": Case(nothing, "…: the target exists already", ("convert", "{}", "-o", "{}/../good")),
    "output is no model": Case(nothing, "…: exists and is no model folder, so --force does not replace it",
                               ("convert", "{}", "-o", "{}/../other", "--force")),
    "output is the source": Case(nothing, "the output … holds the checkpoint", ("convert", "{}", "-o", "{}"), 2),
    "output below a file": Case(nothing, "…: cannot be written: …", ("convert", "{}", "-o", "{}/config.json/out")),
    "tokenizer too large": convert(c.tokenizer(101), "…: has ids up to …, config.json's vocab_size is …"),
    "tokenizer cut off": convert(c.text("tokenizer.json", "{"), "…tokenizer.json: not a tokenizer: …"),
    "tokenizer unknown": convert(c.both(c.tokenizer(90), c.text("tokenizer_config.json", '{"tokenizer_class": "X"}')),
                                 "…: lilims does not know how a … splits text into words"),
    "vocabulary without merges": convert(c.text("vocab.json", '{"a": 0}'), "…: there is no merges.txt beside it"),
    "vocabulary with a gap": convert(c.both(c.tokenizer(90), c.text("vocab.json", '{"a": 0, "b": 2}')),
                                     "…vocab.json: the id of …, …, is not one of 0 to …, each once"),
    "licence that leads out": convert(c.link("LICENSE", "../good/manifest.json"),
                                      "…LICENSE: is a link that leads out of the checkpoint"),
    "tokenizer that leads out": convert(c.link("tokenizer.model", "../good/manifest.json"),
                                        "…tokenizer.model: is a link that leads out of the checkpoint"),
    "sentencepiece damaged": convert(c.text("tokenizer.model", "\n\x7f"), "…tokenizer.model: not a SentencePiece …"),
}  # fmt: skip

WEIGHTS = "model.mlpackage/Data/com.apple.CoreML/weights/weight.bin"
SPEC = "model.mlpackage/Data/com.apple.CoreML/model.mlmodel"
RUN: dict[str, Case] = {
    "no model": run(nothing, "no model 'nowhere'", model="nowhere"),
    "no folder": run(nothing, "…: no such folder", model="./nowhere"),
    "no model folder": run(nothing, "…: is not a model folder: it has no manifest.json", model="{}/.."),
    "old format": run(c.text("old.mlmodel", ""), "…: a .mlmodel file is of the old format (neuralNetwork), …",
                      model="{}/old.mlmodel"),
    "no manifest": run(c.without("manifest.json"), "…: is not a model folder: it has no manifest.json"),
    "manifest cut off": run(c.text("manifest.json", "{"), "…manifest.json: not valid JSON: …"),
    "manifest key twice": run(c.text("manifest.json", '{"a":1,"a":2}'),
                              "…manifest.json: not valid JSON: the key … stands twice"),
    "manifest of the future": run(p.manifest(schema_version=2),
                                  "…manifest.json: schema version … is later than this lilims knows (…)"),
    "manifest of another contract": run(p.manifest(contract="lilims.decoder/9"),
                                        "…manifest.json: contract … is not 'lilims.decoder/1'"),
    "manifest with a flipped byte": run(p.flip("manifest.json", b'"context"'),
                                        "…manifest.json: its content differs from its own digest"),
    "manifest with an unknown field": run(p.manifest(colour="red"), "…manifest.json: colour: Extra inputs are not …"),
    "manifest that leaves the folder": run(p.manifest(package="../other"),
                                           "…manifest.json: …: …is not a path inside the model folder"),
    "another version": run(p.manifest(compatible_runtime=">=7"), "…manifest.json: the model asks for lilims …, this …"),
    "spec with a flipped byte": run(p.flip(SPEC), "…model.mlmodel: its bytes differ from the recorded SHA-256"),
    "weights with a flipped byte": run(p.flip(WEIGHTS), "…weight.bin: its bytes differ from the recorded SHA-256"),
    "weights cut off": run(c.cut(WEIGHTS, 1000), "…weight.bin: has … bytes, … are recorded"),
    "no weights": run(c.without(WEIGHTS), "…weight.bin: the file is missing"),
    "context beyond the state": run(p.manifest(context=100_000),
                                    "…: manifest: … rows are too few for a context of … and chunks of …"),
    "token outside": run(p.manifest(tokens={"eos": [600]}), "…: token … is outside the vocabulary of …"),
    "another's program": run(p.foreign, "…: decode: the package lacks this function"),
    "a program that is no decoder": run(nothing, "…: not a decoder that lilims can call: there is no manifest.json …",
                                        model=str(p.SILERO)),
    "tokenizer of another model": run(p.manifest(architecture={"vocab_size": 320}),
                                      "…: has ids up to …, the model's vocabulary is …"),
    "tokenizer damaged": run(p.recorded(c.text("tokenizer.model", "\n\x7f")),
                             "…tokenizer.model: not a SentencePiece …"),
    "no tokenizer": run(p.recorded(c.without("tokenizer.model")), "…: the model has no tokenizer"),
    "prompt too long": run(nothing, "the prompt has … tokens, the context holds …", "Once " * 600),
    "eval of no decoder": Case(nothing, "…: not a decoder that lilims can call: there is no manifest.json …",
                               ("eval", str(p.SILERO), "--text", "text.txt")),
    "eval of flipped weights": evaluate(p.flip(WEIGHTS), "…weight.bin: its bytes differ from the recorded SHA-256"),
    "eval without a text": evaluate(nothing, "…: cannot be read: …", "nowhere.txt"),
    "eval of a binary text": evaluate(nothing, "…: not UTF-8 (byte …)", "latin1.txt"),
    "eval of a short text": evaluate(nothing, "the text has … tokens, a window …", "short.txt", code=2),
    "eval of a large window": evaluate(nothing, "a window of … tokens does not fit the context of …", "text.txt",
                                       "--context", "9999", code=2),
    "eval on an unknown text": evaluate(nothing, "no text 'wikitext3': neither a file nor one of …", "wikitext3"),
    "eval on a text that is not there": evaluate(nothing, "the text 'wikitext2' is not on this machine", "wikitext2"),
    "eval against nothing": evaluate(nothing, "…: no reference: no such folder", "text.txt", "--reference", "./no"),
    "eval against another tokenizer": evaluate(
        nothing, "…: the model's tokenizer and the reference's read the text differently from token … on", "text.txt",
        "--reference", str(STORIES)),
    "eval over nothing": evaluate(nothing, "--fail-over compares with a reference", "text.txt", "--fail-over", "3%",
                                  code=2),
    "data of an unknown name": Case(nothing, "no text 'wikitext3'", ("data", "wikitext3"), 2),
    "inspect a damaged specification": Case(p.recorded(c.cut(SPEC, 2000)),
                                            "…model.mlmodel: not a Core ML model specification (…)",
                                            ("inspect", "{}/model.mlpackage")),
    "inspect an empty folder": Case(p.empty, "…: not an .mlpackage: it has no Manifest.json",
                                    ("inspect", "{}/model.mlpackage")),
    "inspect a specification that leads out": Case(p.leads_out, "…: the path … leads out of the package",
                                                   ("inspect", "{}/model.mlpackage")),
}  # fmt: skip

WORDS = '{"version": "1.0", "added_tokens": [], "model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}}'
PARTS = [
    {"package": f"{name}.mlpackage", "first_layer": 0, "layers": 2, "functions": [name]}
    for name in ("decode", "prefill")
]
EXPORT: dict[str, Case] = {
    "export without a tokenizer": export(p.recorded(c.without("tokenizer.model")),
                                         "…: the model has no tokenizer, and the app speaks text"),
    "export of another tokenizer": export(p.recorded(c.text("tokenizer.json", WORDS)),
                                          "…: the Swift tokenizer cannot follow this one: …"),
    "export of damaged weights": export(p.flip(WEIGHTS), "…: is not what the manifest records"),
    "export of functions in packages of their own": export(
        p.manifest(parts=PARTS, package="decode.mlpackage"),
        "…: its functions lie in packages of their own, and Core ML cannot share a state …"),
    "export into a folder": export(nothing, "…: exists already", output="../other"),
    "export over other work": export(nothing, "…: exists and is no export, so --yes does not replace it", "--yes",
                                     output="../other"),
    "export over the model": export(nothing, "…: is the model's folder", output="{}", code=2),
    "export under a name": export(nothing, "… is no app name", "--app-name", "$(HOME)", code=2),
    "export under an identifier": export(nothing, "… is no bundle identifier", "--bundle-id", "lilims", code=2),
}  # fmt: skip
MEASURE: dict[str, Case] = {
    "depth outside": bench(nothing, "… tokens of depth and … behind them, the context holds …", "-p", "100000"),
    "compute units": bench(nothing, "compute units are Core ML's, and the portable executor runs here",
                           "--compute-units", "CPU_ONLY"),
    "peer missing": bench(nothing, "mlx-lm is not installed: …", "--peer", "mlx-lm={}", group="compare"),
    "another machine": bench(p.histories, "the baseline has no run of … with this work on such a machine",
                             "--baseline", "{}/there.jsonl", "--candidate", "{}/here.jsonl", group="gate", code=2),
    "history cut off": bench(p.histories, "…: line … is no report of lilims bench",
                             "--baseline", "{}/cut.jsonl", group="gate"),
    "unknown device": bench(nothing, "no figures of a device …", "--device", "zx81", group="estimate", code=2),
}  # fmt: skip
OF_A_MODEL = RUN | EXPORT | MEASURE  # of stories260K in int8


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home of its own and a folder of work with what the cases name."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.setenv("LILIMS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LILIMS_EXECUTOR", "portable")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.chdir(work)
    settings.cache_clear()
    for name in ("good", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "good" / "manifest.json").write_text("{}")
    (tmp_path / "other" / "thesis.tex").write_text("years of work")
    (work / "text.txt").write_text("Once upon a time there was a fox. " * 80)
    (work / "short.txt").write_text("Once.")
    (work / "latin1.txt").write_bytes(b"\xe9t\xe9")
    yield work
    settings.cache_clear()
    console.json = console.quiet = False


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """stories260K in int8."""
    from lilims.conversion import convert

    return convert(test_data("models/stories260K"), tmp_path_factory.mktemp("m") / "tiny", quantize="int8").folder


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file by its path; the home, with its log, is left out."""
    files = {f.relative_to(folder): f for f in sorted(folder.rglob("*")) if f.is_file()}
    return {str(name): file.read_bytes() for name, file in files.items() if name.parts[0] != "home"}


def check(case: Case, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Runs the command; one line, a hint or none, the right exit code, every file as before."""
    before = snapshot(folder.parent)
    code = cli.run([argument.format(folder) for argument in case.arguments])
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert code == case.code, err
    assert re.fullmatch(pattern(f"error: {case.says}"), lines[0]), lines[0]
    assert all(line.startswith("hint:  ") for line in lines[1:]), err
    assert len(lines) == 2 or (case.code == 2 and len(lines) == 1), err  # a wrong option may say it all in one line
    assert out == ""
    assert snapshot(folder.parent) == before


def pattern(says: str) -> str:
    return ".*".join(re.escape(part) for part in says.split("…"))


@pytest.mark.parametrize("name", CONVERT)
def test_convert(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = CONVERT[name]
    source = checkpoints.write(tmp_path / "source")
    case.damage(source)
    check(case, source, capsys)


@pytest.mark.parametrize("name", OF_A_MODEL)
def test_of_a_model(name: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = OF_A_MODEL[name]
    folder = Path(shutil.copytree(model, tmp_path / "tiny"))
    case.damage(folder)
    check(case, folder, capsys)


KILLED = "…: the process that measures ended with signal …"


def test_bench_of_a_killed_process(
    model: Path,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What measures is a process of its own; this one is ended by the system as it starts."""
    path = tmp_path_factory.mktemp("killed")  # beside what is looked at: Python keeps its bytecode there
    (path / "sitecustomize.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    monkeypatch.setenv("PYTHONPATH", str(path), prepend=os.pathsep)
    check(bench(nothing, KILLED, "-r", "1"), Path(shutil.copytree(model, tmp_path / "tiny")), capsys)


def test_the_good_ones_pass(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The folders that the cases damage are good: each case fails because of its damage."""
    source = checkpoints.write(tmp_path / "source")
    checkpoints.tokenizer(100)(source)
    assert cli.run(["convert", str(source), "-o", "out", "-q"]) == 0
    assert cli.run(["run", str(model), "Once", "-n", "2"]) == 0
    assert cli.run(["eval", str(model), "--text", "text.txt"]) == 0
    assert "error" not in capsys.readouterr().err


def test_a_group_size_that_does_not_divide_is_said_and_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No group of 64 or less divides rows of 72: those tensors take int8 with one scale a row instead."""
    source = checkpoints.write(tmp_path / "source", hidden_size=72)
    assert cli.run(["convert", str(source), "-o", "out", "--group-size", "64"]) == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: the group size")]
    manifest = json.loads(Path("out/manifest.json").read_text())
    schemes = [tensor["scheme"] for tensor in manifest["quantization"]["tensors"].values()]
    count = schemes.count("int8 per channel")
    assert count > 0
    assert notes == [
        f"note: the group size does not divide the width of {count} tensors; they became {count} × int8 per channel"
    ]


def test_a_program_that_is_no_decoder_runs_as_a_program() -> None:
    from lilims.runtime.portable import MLModel

    program = MLModel(test_data("coreml/silero-vad/silero-vad-stft-v6.0.0.mlpackage"))
    found = program.predict({"audio_input": np.zeros((1, 576), np.float32)})
    assert all(np.isfinite(value).all() for value in found.values()) and found


def test_a_flipped_byte_is_noticed_once_the_weights_were_checked(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large files are hashed once; a later change still shows."""
    from lilims.core import integrity

    monkeypatch.setattr(integrity, "ALWAYS", 0)
    folder = Path(shutil.copytree(model, tmp_path / "tiny"))
    assert cli.run(["run", str(folder), "Once", "-n", "2"]) == 0
    capsys.readouterr()
    packages.flip(WEIGHTS)(folder)
    check(RUN["weights with a flipped byte"], folder, capsys)


# -- the page ----------------------------------------------------------------------------------------------------------


def rows() -> list[list[str]]:
    """Cells of the page's tables: message, cause, what to do."""
    lines = [line for line in TABLE.read_text("utf-8").splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_every_message_of_the_page_is_a_case_and_every_case_is_on_the_page() -> None:
    cases = {case.says for case in (*CONVERT.values(), *OF_A_MODEL.values())}
    messages = [row[0].strip("`") for row in rows()]
    assert [m for m in messages if messages.count(m) > 1] == []
    assert set(messages) == {*cases, KILLED, *test_disk_full.SAYS}
    assert all(len(row) == 3 and all(row) for row in rows())
