"""Where torchgeo-bench finds the model: ``hydra.searchpath=[pkg://...]``."""
