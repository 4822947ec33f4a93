"""What people ask of the documents beside this file, and what a right answer holds.

They were written before the agent was changed for them. Every second one (`HELD_OUT`) is for judging only: whoever
changes the agent looks at the others.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """Something that is asked.

    Attributes:
        folder: Which documents it is asked of.
        text: The question.
        holds: Regular expressions, all of which a right answer matches, in any case.
        lacks: Regular expressions, none of which it matches.
        after: What was asked before it in the same session.
    """

    folder: str
    text: str
    holds: tuple[str, ...]
    lacks: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    @property
    def is_unanswered(self) -> bool:
        """Whether the documents do not say it, and a right answer says so."""
        return self.holds == NOTHING


NOTHING = (r"^(I found nothing|Nothing speaks of)",)
"""What an honest answer matches when the documents do not say it."""


def _asked(folder: str, *pairs: tuple[str, tuple[str, ...]]) -> list[Question]:
    return [Question(folder, text, holds) for text, holds in pairs]


def _followed(folder: str, *chains: tuple[tuple[str, ...], tuple[str, ...]]) -> list[Question]:
    return [Question(folder, texts[-1], holds, after=texts[:-1]) for texts, holds in chains]


QUESTIONS: list[Question] = [
    *_asked(
        "handbook",
        ("How many vacation days do I get?", ("28 days",)),
        ("Can I carry leave over into next year?", ("five days",)),
        ("What do I have to do when I'm sick?", ("before 9:30",)),
        ("What's the limit for a hotel per night?", ("140 euros",)),
        ("Who approves conference tickets?", ("head of people",)),
        ("How do I claim expenses?", ("photo of each receipt", "intranet", "Attach", "team lead")),
        ("What should I bring on a journey?", ("Passport", "charger", "Insurance card", "printed copy")),
        ("How often are laptops replaced?", ("three years|3 years",)),
        ("My laptop was stolen, who do I call?", ("4400",)),
        ("How long must a password be?", ("14 characters",)),
        ("What do I do when the fire alarm sounds?", ("Leave everything", "stairs", "car park", "warden")),
        ("When is the canteen open?", ("11:30",)),
        ("How long is the probation period?", ("six months",)),
        ("Do I get a company car?", NOTHING),
        ("Is alcohol refunded?", ("Alcohol is not refunded",)),
        ("Does the company have a gym?", NOTHING),
        ("Who orders a new chair?", ("Facilities",)),
        ("What are the core hours?", ("10 to 15",)),
    ),
    *_asked(
        "faq",
        ("How long does delivery take?", ("three to five",)),
        ("What does shipping cost?", ("4.90",)),
        ("Which payment methods are there?", ("Credit card", "PayPal", "Invoice", "Bank transfer")),
        ("Can I cancel a voucher for cash?", ("can't be paid out",)),
        ("How do I return something?", ("label", "Pack", "post office")),
        ("How long is the warranty on pans?", ("10 years",)),
        ("My parcel arrived damaged", ("pictures", "seven days")),
        ("Do you deliver to Switzerland?", ("Switzerland",)),
        ("Why wasn't my payment accepted?", ("differs from the billing",)),
        ("When will I get my money back?", ("five working days",)),
        ("How do I delete my account?", ("Settings",)),
        ("Do you have a shop in Vienna?", NOTHING),
        ("Can I change an order that I've already placed?", ("one hour",)),
        ("Is there a discount for students?", NOTHING),
    ),
    *_asked(
        "contract",
        ("What is the monthly fee?", ("4,200",)),
        ("Is there a cap on liability?", ("50,000",)),
        ("When does the contract begin?", ("1 April 2024",)),
        ("How much notice must be given so that it isn't extended?", ("90 days",)),
        ("Can the Provider use subcontractors?", ("written consent",)),
        ("What happens if we pay late?", ("8 per cent",)),
        ("What's the response time for a critical incident?", ("1 hour",)),
        ("Who owns the software?", ("pass to the Client|rights in software",)),
        ("Which law governs the agreement?", ("Germany",)),
        ("How soon must a data breach be reported?", ("48 hours",)),
        ("What does additional work cost per hour?", ("EUR 95",)),
        ("By how much may the fees be raised?", ("3 per cent",)),
        ("Is there a penalty for missing the service levels?", NOTHING),
        ("Can the client terminate for convenience?", ("60 days",)),
        ("What about force majeure?", ("beyond its control",)),
        ("Where is personal data processed?", ("European Union",)),
    ),
    *_asked(
        "report",
        ("How much water was delivered in 2023?", ("6.1 million",)),
        ("What was the nitrate value?", ("18.2",)),
        ("What is the limit for lead?", (r"\b10\b",)),
        ("How many people work there?", (r"\b97\b",)),
        ("What was the revenue in 2022?", ("13.6 million",)),
        ("What does a cubic metre cost?", ("1.92",)),
        ("Why was the oldest well closed?", ("nitrate level",)),
        ("How hard is the water?", ("medium hardness|11 degrees",)),
        ("How much water is lost?", ("Eight per cent",)),
        ("When will the new well be ready?", ("summer 2025",)),
        ("Where do I report a fault?", ("0800 555 010",)),
        ("Who is the director of the waterworks?", NOTHING),
        ("How big is the reservoir?", ("12,000",)),
        ("What are the greatest risks?", ("Dry summers",)),
        ("How many meters are replaced?", ("31,000",)),
        ("Is there fluoride in the water?", NOTHING),
    ),
    *_asked(
        "product",
        ("What is crumbtrail?", ("command-line tool",)),
        ("How do I install it?", ("pipx install crumbtrail",)),
        ("Which Python version does it need?", (r"Python 3\.9",)),
        ("How long are backups kept?", ("90 days|90d",)),
        ("What is the default chunk size?", ("8MB",)),
        ("How many uploads run in parallel?", (r"\b4\b",)),
        ("How do I restore a single file?", ("crumbtrail restore notes.txt",)),
        ("How do I restore a whole machine?", ("Install crumbtrail", "passphrase", "restore --all")),
        ("What if I lose my passphrase?", ("backup is lost",)),
        ("Which encryption does it use?", ("AES-256",)),
        ("Where's the log?", (r"cache/crumbtrail/log",)),
        ("What does AccessDenied mean?", ("may not write",)),
        ("Does it run on Windows?", ("Windows",)),
        ("Does it work with Dropbox?", NOTHING),
        ("What licence is it under?", (r"Apache",)),
        ("How do I exclude files?", ("exclude",)),
    ),
]

FOLLOW_UPS: list[Question] = [
    *_followed(
        "handbook",
        (("How many days of paid leave are there?", "When do they expire?"), ("31 March",)),
        (("When is the canteen open?", "And what does a meal cost there?"), ("6 euros",)),
        (("What happens if my laptop is lost?", "Do I need the police for that?"), ("only when something was stolen",)),
        (("Can I take a sabbatical?", "Is it paid?"), ("unpaid",)),
        (("How many days of paid leave are there?", "How many was that again?"), ("28 days",)),
        (("Who books trains?", "Can I go first class on them?"), ("four hours",)),
    ),
    *_followed(
        "faq",
        (("What does shipping cost?", "When is it free?"), ("50 euros",)),
        (("How do I use a voucher?", "How long are they valid?"), ("three years",)),
        (("How can I return something?", "What does that cost?"), ("free of charge",)),
        (("Can I pay by invoice?", "When is it due?"), ("14 days",)),
    ),
    *_followed(
        "contract",
        (("What is the monthly fee?", "Can they raise it?"), ("3 per cent",)),
        (("How long does the agreement run?", "And how is it extended?"), ("12 months",)),
        (("What counts as confidential?", "How long does that obligation last?"), ("five years",)),
        (("What is the liability limit?", "When does it not apply?"), ("gross negligence",)),
    ),
    *_followed(
        "report",
        (("How much water was lost?", "What is the goal for that?"), ("six per cent",)),
        (("What does a cubic metre of water cost?", "Since when has it not changed?"), ("2020",)),
        (("What is the mean nitrate value?", "And lead?"), (r"0\.8",)),
        (("When will the new well be ready?", "What does it cost?"), ("2.4 million",)),
        (("What was the revenue in 2021?", "And in 2023?"), ("14.3 million",)),
    ),
    *_followed(
        "product",
        (("How do I restore a single file?", "Does it overwrite existing ones?"), ("never overwrite",)),
        (("How long are backups kept?", "Where are they kept?"), ("bucket",)),
        (("What is crumbtrail?", "Does it need a server?"), ("No server",)),
        (("What should I do when a backup hangs?", "And if it was left locked?"), ("crumbtrail unlock",)),
        (("Which settings are there?", "What is the default of parallel?"), (r"\b4\b",)),
    ),
]

TUNED, HELD_OUT = slice(0, None, 2), slice(1, None, 2)
"""Which of them the agent may be changed for, and which only judge it."""
