"""From a data set's name to batches of aligned HR/LR patches."""
