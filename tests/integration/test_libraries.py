"""What loading models does to the process that it happens in: nothing that another thread could notice."""

from __future__ import annotations

import subprocess
import sys

#: Run in a process of its own, where nothing has been imported yet, as in a worker.
LOADS = """
import gc, sys, threading

seen, stop = [], threading.Event()

def others() -> None:
    while not stop.is_set():
        for name in ("scipy.special", "scipy.integrate", "onnxruntime", "torch.distributed"):
            try:
                __import__(name)
            except Exception as error:
                seen.append(f"{name}: {error!r}")
        stop.wait(0.02)

from tintype.diffusion.samplers.schedulers import scheduler_class
from tintype.diffusion.libraries import CLASSES, find_class, quiet_libraries
from tintype.samplers import SCHEDULERS

thread = threading.Thread(target=others)
thread.start()
quiet_libraries()
classes = [find_class(name) for name in CLASSES]
for name in SCHEDULERS:
    scheduler_class(name)()
stop.set()
thread.join()

import torch, torch._dynamo, diffusers.utils, transformers.utils
from importlib import metadata
assert not seen, seen
assert gc.isenabled()
assert [name for name, module in sys.modules.items() if module is None and name.split(".")[0] in OURS] == []
assert torch._dynamo.config.recompile_limit > 0
assert torch.distributed.is_available() == hasattr(torch._C, "_c10d_init")
assert metadata.packages_distributions()["tintype"]
assert diffusers.utils.is_scipy_available()
for name in ("peft", "accelerate"):
    there = bool(metadata.packages_distributions().get(name))
    assert getattr(diffusers.utils, f"is_{name}_available")() == there
from diffusers.schedulers.scheduling_lms_discrete import LMSDiscreteScheduler
scheduler = LMSDiscreteScheduler()
scheduler.set_timesteps(10)
assert scheduler.get_lms_coefficient(4, 5, 0) != 0
print("as it should be")
"""


def test_nothing_is_hidden_from_the_process_while_models_are_loaded() -> None:
    code = LOADS.replace("OURS", repr(("scipy", "peft", "accelerate", "sklearn", "onnxruntime", "torch")))
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.stdout == "as it should be\n", ran.stderr
