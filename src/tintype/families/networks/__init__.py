"""Networks of the libraries: names of their tensors in files of other layouts and versions."""
