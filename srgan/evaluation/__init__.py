"""Score models on test images; write the report and the cards."""
