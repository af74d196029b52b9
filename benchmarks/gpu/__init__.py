"""Everything that only a GPU can tell, by one command: `python -m benchmarks.gpu --json FILE`.

First the checks: kernels, decoding and the whole loader on the device, against the float64
reference, numcodecs and the engine that runs on the CPU. Then the figures, each beside its peer and
its aim. `docs/gpu.md` says how to read them.

A part, that is a check or a group of figures, that fails does not stop the others. Parts run in a
child process, which is replaced where a part ends it, hangs, or leaves the GPU in error. The JSON
file is written after each part, so that nothing is lost where the command is stopped.

The exit code is 0 where all went well, 1 where a part failed or no check passed, and 2 without
CUDA. A figure below its aim is no failure.
"""
