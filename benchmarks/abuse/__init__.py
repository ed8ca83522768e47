"""What one key, or a stranger without one, can do to everybody else: `python -m benchmarks.abuse`.

`attacks` and `further` say what is done, with the bytes of `payloads`; `actors` does it to a server of `stage` from a
process of its own while another one measures; `report` says which goals were missed.
"""
