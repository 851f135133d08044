"""The decoding loop: loop.py runs it, output.py makes text of it, stream.py hands it out, profile.py has its times."""
