"""MIL as text: the `model.mil` of a compiled model, read into the protobuf messages of MIL.proto.

Knows the text form. Must not know folders, model descriptions, or what an op does.

No grammar of it is published. This one was learnt from what Apple's `coremlc` wrote, files of public repositories on
GitHub, and holds for those:

    apple/coremltools                      coremltools/modelrunner/ModelRunner/add_model.mlmodelc
    FluidInference/FluidAudio              Models/ParakeetEOU/Streaming/*/*.mlmodelc, Sources/…/OptimizationModels/*
    FluidInference/mobius                  models/tts/kokoro-v1.1-zh/coreml/build/ANE-zh/KokoroNoise.mlmodelc
    rebeckerspecialties/mlmodelc-export    tests/**/expected-macos.mlmodelc, tests/pipeline-fixtures/*/expected.mlmodelc

In EBNF, where {} is any number of, [] is at most one of, and commas stand between what is listed:

    program    = "program" "(" version ")" [attributes] "{" {function} "}"
    function   = "func" name "<" opset ">" "(" {type name} ")" [attributes] body
    body       = "{" {operation} "}" "->" "(" {name} ")" [";"]
    operation  = [{type name} "="] name "(" {name "=" argument} ")" [attributes] {block} [attributes] ";"
    argument   = name | literal | "(" {argument} ")"
    attributes = "[" {name "=" literal} "]"
    block      = [name] ["(" {type name} ")"] body
    type       = "tensor" "<" dtype "," "[" {size | "?"} "]" ">" | dtype | "state" "<" type ">"
               | "list" "<" type "," (size | "?") ">" | "tuple" "<" {type} ">" | "dict" "<" type "," type ">"
    literal    = type "(" [content] ")"
    content    = number | "true" | "false" | string | "[" {content} "]" | "(" {content} ")"
               | "{" {"{" content "," content "}"} "}" | "BLOBFILE" "(" {name "=" literal} ")"

A scalar is `tensor<fp16, []>(0x1p+0)` in `program(1.0)` and `fp16(0x1p+0)` in `program(1.3)`; both are read in both.
Floats are hexadecimal, as C's `%a` prints them. No published sample has a body within an operation (`cond`,
`while_loop`), so the form of `block` is a guess; another form of it ends in an error that says where.
"""

from __future__ import annotations

from .parser import parse_program

__all__ = ["parse_program"]
