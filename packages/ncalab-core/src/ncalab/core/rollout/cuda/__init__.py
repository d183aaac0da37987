"""The CUDA engine: kernels in Triton's language, replayed as CUDA graphs."""
