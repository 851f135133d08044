"""Cases of the cache: prompts of many chunks, sessions that go back, fork, take turns, move, and overflow.

Knows sessions. Must not know executors. What a session gives is compared with the exact executor on the same tokens.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .comparing import DECODER, differences, judge, logit_differences
from .pairs import CHUNK, open_pair
from .rungs import Finding, Target

__all__ = [
    "buckets",
    "fork",
    "host_embedding",
    "interleaved",
    "long_prompt",
    "moved_state",
    "overflow",
    "policies",
    "rewind",
    "saved",
    "split_functions",
    "split_layers",
]

_LONG = 3 * CHUNK + 7
_POLICIES = ("rolling", "sinks", "shift")


def long_prompt(target: Target) -> Finding:
    """Chunks and a part of one: every row through `score`, and the last one through prefill and token by token."""
    pair = open_pair(target)
    ids = pair.text[:_LONG]
    wanted = pair.wanted.logits(ids)
    own = [pair.found.session().append(ids)[None], pair.found.step_logits(ids)[-1:]]
    found = np.concatenate([pair.found.logits(ids), *own])
    figures = logit_differences(found, np.concatenate([wanted, wanted[-1:], wanted[-1:]]))
    return judge(figures, DECODER, f"{len(ids)} tokens three ways")


def rewind(target: Target) -> Finding:
    """A session that went back into the middle of a chunk and on with another text, and the beginning kept."""
    pair = open_pair(target)
    first, second = pair.text[:60], [*pair.text[:45], *pair.text[100:120]]
    session = pair.found.session()
    session.append(first)
    session.rewind(15)
    found = session.append(second[45:])
    kept = session.advance([*second[:50], *pair.text[130:140]])
    if session.reused != 50:
        return Finding(False, f"{session.reused} of 50 tokens were kept")
    wanted = [pair.wanted.session().append(ids) for ids in (second, [*second[:50], *pair.text[130:140]])]
    return judge(logit_differences(np.stack([found, kept]), np.stack(wanted)), DECODER, "back by 15 tokens, and by 15")


def fork(target: Target) -> Finding:
    """Two sessions with one beginning, which do not hear of each other."""
    pair = open_pair(target)
    begin, one, other = pair.text[:50], pair.text[60:70], pair.text[80:90]
    session = pair.found.session()
    session.append(begin)
    copy = session.fork()
    found = [session.append(one), copy.append(other), session.append(other)]
    wanted = [pair.wanted.session().append(ids) for ids in ([*begin, *one], [*begin, *other], [*begin, *one, *other])]
    return judge(logit_differences(np.stack(found), np.stack(wanted)), DECODER, "two ends of one beginning")


def interleaved(target: Target) -> Finding:
    """Three sessions of one model whose calls take turns."""
    pair = open_pair(target)
    texts = [pair.text[start : start + 45] for start in (0, 100, 200)]
    sessions = [pair.found.session() for _ in texts]
    for session, ids in zip(sessions, texts, strict=True):
        session.append(ids[:40])
    rows = [[s.append([ids[at]]) for s, ids in zip(sessions, texts, strict=True)] for at in range(40, len(texts[0]))][
        -1
    ]
    wanted = [pair.wanted.session().append(ids) for ids in texts]
    return judge(logit_differences(np.stack(rows), np.stack(wanted)), DECODER, f"{len(texts)} sessions in turn")


def moved_state(target: Target) -> Finding:
    """The exact executor's cache goes on here, and this one's cache holds the same values."""
    pair = open_pair(target)
    ids, more = pair.text[:50], pair.text[50:60]
    other = pair.wanted.session()
    other.append(ids)
    taken = other.snapshot()
    own, session = pair.found.session(), pair.found.session()
    own.append(ids)
    cache = differences(own.snapshot().state, taken.state)
    session.restore(taken)
    figures = logit_differences(session.append(more)[None], other.append(more)[None])
    figures |= {"cache_max": cache["max"], "cache_rms_share": cache["rms_share"]}
    found = judge(figures, DECODER, "a cache from the other executor")
    good = found.passed and cache["rms_share"] < DECODER
    return Finding(good, f"{found.what}; the caches differ by {cache['rms_share']:.3%}", figures)


def saved(target: Target) -> Finding:
    """A session in a file goes on as the one that was saved."""
    from lilims.runtime import load_session, save_session

    pair = open_pair(target)
    session = pair.found.session()
    session.append(pair.text[:50])
    file = target.work / "saved.session"
    save_session(session, file, model=pair.found)
    again = load_session(pair.found, file)
    figures = logit_differences(again.append(pair.text[50:60])[None], session.append(pair.text[50:60])[None])
    return judge(figures, DECODER, f"{file.stat().st_size} bytes")


def policies(target: Target) -> Finding:
    """Texts longer than the context, by each policy that drops tokens."""
    pair = open_pair(target, context=64)
    ids = pair.text[:150]
    rows: dict[str, tuple[Any, Any]] = {}
    for policy in _POLICIES:
        rows[policy] = (_streamed(pair.found, policy, ids), _streamed(pair.wanted, policy, ids))
    figures = logit_differences(*(np.concatenate(part) for part in zip(*rows.values(), strict=True)))
    worst = max(differences(*pair_of)["rms_share"] for pair_of in rows.values())
    figures["worst_policy"] = worst
    found = judge(figures, DECODER, f"{len(ids)} tokens in 64 rows, {', '.join(_POLICIES)}")
    return Finding(found.passed and bool(worst < DECODER), found.what, figures)


def _streamed(model: Any, policy: str, ids: list[int]) -> Any:
    """Logits behind a prompt and then behind every token."""
    session = model.session(policy)
    return np.stack([session.append(ids[:40]), *(session.append([token]) for token in ids[40:])])


def overflow(target: Target) -> Finding:
    """A full context is refused, and the session that refused goes on."""
    from lilims.core.errors import ContextOverflowError

    pair = open_pair(target, context=64)
    session = pair.found.session()
    session.append(pair.text[:60])
    try:
        session.append(pair.text[60:80])
    except ContextOverflowError:
        figures = logit_differences(
            session.append(pair.text[60:64])[None], pair.wanted.session().append(pair.text[:64])[None]
        )
        return judge(figures, DECODER, "80 tokens refused, 64 taken")
    return Finding(False, "80 tokens went into 64 rows")


def buckets(target: Target) -> Finding:
    """A text that grows out of one bucket into the next and then into the whole context."""
    return _form(target, "buckets")


def host_embedding(target: Target) -> Finding:
    """Rows of the embedding come from a file beside the package."""
    return _form(target, "host-embedding")


def split_layers(target: Target) -> Finding:
    """Several packages, each with some layers and a state of its own."""
    return _form(target, "split-layers")


def split_functions(target: Target) -> Finding:
    """A package a function; the state is handed from one to the other."""
    return _form(target, "split-functions")


def _form(target: Target, form: str) -> Finding:
    """A prompt, then tokens up to 160: through every function and over both buckets' ends."""
    pair = open_pair(target, form)
    ids, prompt = pair.text[:160], 40
    found = pair.found.step_logits(ids, prefill=prompt)
    figures = logit_differences(found, pair.wanted.step_logits(ids, prefill=prompt))
    return judge(figures, DECODER, f"{len(pair.wanted.manifest.packages())} packages, {len(ids)} tokens")
