"""Describe the hospitals where phantoms are seen: prevalences, share of bedside studies, exposure."""

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
"""Share of studies with each finding at the first site, most common first; see docs/decisions/phantoms.md."""

ACUTE = frozenset({"Edema", "Effusion", "Pneumonia", "Consolidation", "Atelectasis"})
"""Findings of patients who are seen in bed more often."""

PORTABLE_IF_ILL = 0.12
"""How much larger the share of AP studies is among studies with an acute finding."""

NEPERS = 12.0
"""Attenuation of the beam by an absorption of 1, as a natural logarithm: from lung to abdomen a factor of about 100."""


@dataclass(frozen=True)
class Site:
    """One hospital.

    Attributes:
        prevalence: share of studies with each finding, most common first.
        portable: share of AP studies among those without an acute finding.
        exposure: logarithm of the dose relative to the first site's, in units of absorption. Below 0 the images are
            paler and, with fewer quanta, grainier.
    """

    prevalence: Mapping[str, float]
    portable: float
    exposure: float

    @property
    def grain(self) -> float:
        """Amplitude of the grain relative to the first site's: it falls with the square root of the dose."""
        return exp(-self.exposure * NEPERS / 2)


FIRST_SITE = Site(PREVALENCE, portable=0.32, exposure=0.0)


def other_site(params: PhantomUpdateParams) -> Site:
    """Return the site of the second batch.

    Args:
        params: `prevalence` is added to the log-odds of acute findings and subtracted from those of the others.
    """
    shifts = {name: params.prevalence if name in ACUTE else -params.prevalence for name in PREVALENCE}
    shares = {name: shift_log_odds(share, shifts[name]) for name, share in PREVALENCE.items()}
    common_first = sorted(shares, key=shares.__getitem__, reverse=True)
    return Site({name: shares[name] for name in common_first}, params.portable, params.exposure)


def shift_log_odds(share: float, shift: float) -> float:
    """Return a share after adding `shift` to its log-odds."""
    odds = exp(shift) * share / (1 - share)
    return odds / (1 + odds)
