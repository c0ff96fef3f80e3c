"""One room for each architecture; nothing is imported here, the registry knows where each name lives."""
