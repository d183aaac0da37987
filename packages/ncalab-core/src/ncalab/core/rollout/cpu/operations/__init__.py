"""The CPU engine that is made of PyTorch operations, where the compiled one does not serve."""
