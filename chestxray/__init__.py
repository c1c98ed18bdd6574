"""Multi-label classification of findings in frontal chest radiographs. Research use only, not a medical device."""
