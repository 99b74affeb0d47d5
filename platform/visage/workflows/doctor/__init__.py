"""A look at the machines and stores of an experiment before its first trial: what fails there, and the mend."""
