"""`lilims chat` between other programs: a turn a line, answers alone on stdout."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .helpers import LILIMS, chatty, contents, piped

QUICK = ("-n", "6", "--temp", "0", "--ignore-eos", "--threads", "1")


def test_each_line_is_a_turn(home: Path) -> None:
    done = piped("chat", *QUICK, "--stats", text="Once upon a time\nOne day\n\n")
    assert done.returncode == 0, done.stderr
    answers = done.stdout.splitlines()
    assert len(answers) == 2 and all(answers)
    assert done.stderr.count("prompt tokens run") == 2
    assert "/help" not in done.stderr


def test_json_has_the_whole_conversation(home: Path) -> None:
    done = piped("chat", *QUICK, "--json", text="Once upon a time\n/regen\nOne day\n")
    found = json.loads(done.stdout)
    assert (found["kind"], found["schema_version"], found["model"]) == ("chat", 1, "stories-int4")
    assert [one["role"] for one in found["messages"]] == ["user", "assistant"] * 2
    assert len(found["turns"]) == 3
    assert found["turns"][1]["prompt_tokens"] - found["turns"][1]["reused_tokens"] == 1


def test_a_session_is_kept_between_programs(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "talk.json"
    first = piped("chat", *QUICK, "--session", path, text="Once upon a time\n")
    assert first.returncode == 0, first.stderr
    second = piped("chat", *QUICK, "--session", path, "--json", text="One day\n")
    found = json.loads(second.stdout)
    assert contents(found["messages"])[:2] == ["Once upon a time", first.stdout.removesuffix("\n")]
    (turn,) = found["turns"]
    assert turn["prompt_tokens"] - turn["reused_tokens"] <= 3
    together = piped("chat", *QUICK, text="Once upon a time\nOne day\n").stdout.splitlines()
    assert together == [contents(found["messages"])[1], contents(found["messages"])[3]]


def test_commands_work_in_a_pipe(home: Path, tmp_path: Path) -> None:
    lines = "Once upon a time\n/save a.json\n/reset\nThe cat\n/load a.json\n/stats\n/help\n/model\n/quit\nnever\n"
    path = tmp_path / "a.json"
    done = piped("chat", *QUICK, text=lines.replace("a.json", str(path)))
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2
    assert path.is_file() and path.with_name("a.json.kv").is_file()
    for words in (
        "2 messages saved",
        "begins anew",
        "2 messages from",
        "2 messages, 1 answers",
        "/regen",
        "stories-int4; ",
    ):
        assert words in done.stderr


def test_a_file_is_the_first_message(home: Path, tmp_path: Path) -> None:
    (tmp_path / "first.txt").write_text("Once upon\na time\n", "utf-8")
    done = piped("chat", *QUICK, "-f", tmp_path / "first.txt", "--json", text="One day\n")
    found = json.loads(done.stdout)
    assert contents(found["messages"])[0] == "Once upon\na time"
    assert len(found["turns"]) == 2


def test_a_model_with_a_template_answers(home: Path, tmp_path: Path) -> None:
    done = piped("chat", chatty(home, tmp_path), *QUICK, "--system", "Be kind.", "--json", text="Hello\nAnd you?\n")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert contents(found["messages"])[::2] == [
        "Be kind.",
        contents(found["messages"])[2],
        contents(found["messages"])[4],
    ]
    assert [one["role"] for one in found["messages"]] == ["system", "user", "assistant", "user", "assistant"]
    assert found["turns"][1]["reused_tokens"] > 20


FAILURES = {
    "an unknown command": (("chat", *QUICK), "/nosuch\n", 2, "there is no command /nosuch"),
    "a file that is none": (("chat", *QUICK), "/load nowhere.json\n", 1, "no such file"),
    "nothing to answer again": (("chat", *QUICK), "/regen\n", 2, "there is no question"),
    "save without a file": (("chat", *QUICK), "Once\n/save\n", 2, "/save needs a file"),
    "a model that is not there": (("chat", "absent"), "Once\n", 1, "no model 'absent'"),
    "two models": (("chat", "stories", "-m", "stories"), "", 2, "the model is named twice"),
    "a system message without a template": (
        ("chat", "--system", "x"),
        "Once\n",
        2,
        "--system is for models with a chat",
    ),
    "logprobs": (("chat", "--logprobs", "3"), "", 2, "--logprobs is for `lilims run"),
    "a folder that is not there": (("chat", "--session", "nowhere/talk.json"), "", 1, "nowhere: no such folder"),
    "too long": (("chat", *QUICK), "word " * 3000 + "\n", 1, "/reset begins anew"),
}


@pytest.mark.parametrize(("arguments", "text", "code", "words"), FAILURES.values(), ids=FAILURES)
def test_failures_are_one_line(arguments: tuple[str, ...], text: str, code: int, words: str, home: Path) -> None:
    done = piped(*arguments, text=text, COLUMNS="200")
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr
    assert all(done.stdout.splitlines()), "a turn that fails leaves no empty line"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to a child")
def test_ctrl_c_ends_a_pipe_and_keeps_what_was_said(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "talk.json"
    options = ("--ignore-eos", "--context-policy", "sinks", "--threads", "1", "--session", str(path))
    process = subprocess.Popen(
        [sys.executable, "-c", LILIMS, "chat", *options],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("Once upon a time\nOne day\n")
    process.stdin.close()
    began = process.stdout.read(20)
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 130
    process.stdout.close()
    assert process.stderr is not None
    process.stderr.close()
    asked, answer = contents(json.loads(path.read_text("utf-8"))["messages"])
    assert asked == "Once upon a time"
    assert answer.startswith(began)


def test_bytes_that_are_no_text_are_refused(home: Path) -> None:
    done = subprocess.run([sys.executable, "-c", LILIMS, "chat", *QUICK], input=b"Once\n\xff\n", capture_output=True)
    assert done.returncode == 2
    assert b"stdin, line 2 is not UTF-8" in done.stderr
    assert len(done.stdout.splitlines()) == 1
