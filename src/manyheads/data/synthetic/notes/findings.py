"""The findings, one group a label, and the sentences that state, deny or remember one.

Every sentence puts a grade before the finding and a site after it, drawn alike for all sentences. So no pair of
neighbouring words joins a finding to what is said of it: counts of words and of word pairs tell nothing of the label.
"""

FINDINGS = {
    "pneumonia": ("lobar pneumonia", "airspace consolidation", "lung infiltrate"),
    "embolism": ("pulmonary embolism", "venous thrombosis", "arterial clot"),
    "heart failure": ("heart failure", "ventricular dysfunction", "cardiac congestion"),
    "stroke": ("ischaemic stroke", "cerebral infarction", "brain oedema"),
}
LABELS = tuple(FINDINGS)

GRADES = ("mild", "moderate", "severe", "extensive", "limited", "subtle", "marked", "early")
SITES = (
    "on the left",
    "on the right",
    "on both sides",
    "of uncertain extent",
    "of unclear cause",
    "without pain",
    "with fatigue",
    "with slow change",
)

# What makes a finding the decisive one: all say that it is new, and confirmed today.
DECISIVE = (
    "Today's imaging confirms new {finding}.",
    "New onset {finding}, confirmed today.",
    "The repeat study confirms new {finding} as of today.",
    "Newly diagnosed {finding}, confirmed on today's round.",
    "Confirmed today: new {finding}.",
    "The scan was read today and confirms new onset {finding}.",
    "{finding} is newly confirmed today and explains the presentation.",
    "Today the team confirmed {finding} as the new diagnosis.",
)

NEGATED = (
    "No evidence of {finding}.",
    "There is no sign of {finding} on this study.",
    "The images show no {finding}.",
    "The patient denies any earlier {finding}.",
    "Negative for {finding}.",
    "Neither the films nor the examination suggest {finding}.",
)
HISTORICAL = (
    "History of {finding}, resolved in {year}.",
    "{finding} in {year}, fully recovered.",
    "Past {finding}, treated elsewhere in {year}.",
    "Old records mention {finding} in {year}, without consequences.",
    "An episode of {finding} in {year} left nothing behind.",
)
FAMILY = (
    "Mother had {finding} at age {n50_88}.",
    "Father died of {finding} in {year}.",
    "Family history: {finding} in {relative}.",
    "{relative} was treated for {finding} in {year}.",
)
RULED_OUT = (
    "{finding} was considered and ruled out by {test}.",
    "An initial concern about {finding} was not borne out.",
    "{finding} has been excluded by {test}.",
    "Suspected {finding} at the referring clinic, since refuted by {test}.",
)
DISTRACTING = (NEGATED, HISTORICAL, FAMILY, RULED_OUT)
