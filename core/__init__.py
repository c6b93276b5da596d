"""Langevin's diffusion core: processes, schedules, denoisers, solvers, guidance, training.

`core` imports only torch, numpy, einops, safetensors and tqdm, and nothing else of this project.  This file stays empty
of imports so that `import core` costs nothing; take what you need from the modules.
"""
