"""Questions that only Core ML can answer, asked one at a time and each in a process of its own.

    table    rungs.py     what a question is, and what became of it
             ladder.py    the probes: forms of programs, from the simplest up
             behaviour.py what users do, on two executors
    running  isolated.py  a process with a time limit, whatever it does
             child.py     in that process
             climbing.py  one rung after the other, and the report

Nothing here runs Core ML off macOS: there the portable executor stands in, and every report says so.
"""
