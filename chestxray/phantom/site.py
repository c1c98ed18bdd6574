"""Where phantoms are seen: what a site's patients have, how often it sees them in bed, how it exposes."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp

from chestxray.params import PhantomUpdateParams

PREVALENCE = {
    "Infiltration": 0.150,
    "Effusion": 0.115,
    "Atelectasis": 0.102,
    "Nodule": 0.078,
    "Mass": 0.070,
    "Pneumothorax": 0.064,
    "Consolidation": 0.059,
    "Pleural_Thickening": 0.054,
    "Cardiomegaly": 0.050,
    "Emphysema": 0.046,
    "Edema": 0.042,
    "Fibrosis": 0.038,
    "Pneumonia": 0.034,
    "Hernia": 0.030,
}
"""Share of studies with each finding at the first site, most common first.

They keep the order of NIH ChestX-ray14 (Wang et al., CVPR 2017), but the rare findings are less rare, so that a small
cohort still has some of each on every side of a split.
"""

ACUTE = frozenset({"Edema", "Effusion", "Pneumonia", "Consolidation", "Atelectasis"})
"""Findings of those who are seen in bed more often."""

PORTABLE_IF_ILL = 0.12
"""How much more often they are, as a share of studies."""


@dataclass(frozen=True)
class Site:
    """One hospital.

    Args:
        prevalence: share of studies with each finding, most common first.
        portable: share of AP studies of those without an acute finding.
        exposure: logarithm of the dose against that of the first site, in units of absorption. Below 0 the pictures
            are paler and, with fewer quanta, grainier.
    """

    prevalence: Mapping[str, float]
    portable: float
    exposure: float

    @property
    def grain(self) -> float:
        """Amplitude of the grain against the first site's: it falls with the square root of the dose."""
        return exp(-self.exposure * NEPERS / 2)


NEPERS = 12.0
"""What an absorption of 1 takes of the beam: the step from lung to abdomen is a factor of some hundred."""

FIRST_SITE = Site(PREVALENCE, portable=0.32, exposure=0.0)


def other_site(params: PhantomUpdateParams) -> Site:
    """The site of the second batch: the log-odds of acute findings rise by `prevalence`, those of others fall."""
    shifts = {name: params.prevalence if name in ACUTE else -params.prevalence for name in PREVALENCE}
    shares = {name: shifted(share, shifts[name]) for name, share in PREVALENCE.items()}
    common_first = sorted(shares, key=shares.__getitem__, reverse=True)
    return Site({name: shares[name] for name in common_first}, params.portable, params.exposure)


def shifted(share: float, shift: float) -> float:
    """A share of which the log-odds move by `shift`."""
    odds = exp(shift) * share / (1 - share)
    return odds / (1 + odds)
