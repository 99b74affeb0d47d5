"""A package of its own name, as torch-fidelity installs a `tests` too, which Ray's workers would find instead."""
