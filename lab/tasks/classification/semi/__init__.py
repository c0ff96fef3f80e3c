"""Learning from images of which few are labelled."""
