"""The rules of preference learning: pure functions and types, no Prefect, network, clock or torch."""
