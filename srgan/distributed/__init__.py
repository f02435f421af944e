"""Several processes that train one model: process group, launch, device."""
