"""The sections of a visit and what is written in them; nothing here depends on the label."""

from typing import NamedTuple


class Section(NamedTuple):
    """title; share of a visit's words; whether sentences run on (prose) or stand one a line; the templates."""

    title: str
    share: float
    prose: bool
    templates: tuple[str, ...]


def lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.strip().splitlines())


HEADER = lines("""
    Patient: {given} {surname}, record {n100000_999999}, born {n1_28} {month} {n1930_1999}, seen by {doctor} on {date}.
    Name: {surname}, {given}. File number {n100000_999999}. Age {n19_93}. Date of visit {date}. Author {doctor}.
    Record {n100000_999999}: {given} {initial} {surname}, aged {n19_93}, admitted on {weekday}, {date}, under {doctor}.
""")

HISTORY = lines("""
    The patient is a {n19_93} year old {job} who came in with {complaint} for {n2_20} days.
    {complaint} began on {weekday} and was worse after {n2_9} pm.
    There was also {complaint}, which settled with {drug} {dose}.
    The patient reports {complaint} and {complaint} over the last {n2_9} weeks.
    The family doctor, {doctor}, had started {drug} {dose} {often} on {date}.
    Symptoms were worse on {weekday} and better after rest.
    A similar spell of {complaint} occurred in {month} and passed without treatment.
    The patient slept {n3_9} hours and woke with {complaint}.
    At {clock} the patient called the practice because of {complaint}.
    Appetite is fair and weight has changed by {n1_6} kg since {month}.
    Travel to the coast in {month} was uneventful.
    The patient took {n2_4} tablets of {drug} before arrival.
""")

PAST = lines("""
    Known {problem} since {year}, treated with {drug}.
    {operation} in {year} at the county hospital, uncomplicated.
    {problem}, followed up by {doctor} every {n3_12} months.
    Fracture of the wrist at age {n6_16}, healed.
    {problem} and {problem}, both stable.
    Admitted in {year} for {operation}, home after {n2_9} days.
    Vaccinations were last reviewed in {month} {year}.
    Blood transfusion of {n2_4} units in {year}.
    {drug} was stopped in {year} because of {reaction}.
    Screening in {year} was normal.
""")

SOCIAL = lines("""
    Works as a {job} and lives in {home} with {pet}.
    Retired {job}, enjoys {hobby} and {hobby}.
    Smoked {n5_30} cigarettes a day until {year}.
    Drinks {n1_12} units of alcohol a week.
    {relative} has {problem}; another relative has {problem}.
    Parents had {problem} and lived to {n70_97} and {n70_97}.
    Has {n2_5} children, one of whom has {problem}.
    Walks {n2_9} km on most days and cooks at home.
    Home help comes on {weekday} and {weekday}.
""")

MEDICATIONS = lines("""
    - {drug} {dose} {route} {often}
    - {drug} {dose} {often}, since {month} {year}
    - {drug} {dose} {route} {often}, started by {doctor}
    - {drug} {dose}, {n2_3} tablets {often}
    - {drug}, dose changed to {dose} on {date}
    - {drug} stopped on {date} because of {reaction}
    - allergy to {allergen}: {reaction}
""")

VITALS = lines("""
    {clock} | BP {n98_168}/{n54_98} | HR {n52_108} | RR {n11_22} | T {n35_38}.{n0_9} | SpO2 {n92_100}
    {clock} | BP {n98_168}/{n54_98} | HR {n52_108} | T {n35_38}.{n0_9} | weight {n48_118}.{n0_9} kg
    {clock} | HR {n52_108} | RR {n11_22} | SpO2 {n92_100} | pain {n0_8} of 10 | glucose {n4_12}.{n0_9}
""")

REVIEW = lines("""
    General: {complaint} for {n2_9} days, otherwise well.
    Skin: {complaint} is reported, no wounds.
    Sleep: {n3_9} hours a night, {complaint} now and then.
    Digestion: regular, {complaint} after meals.
    Joints: stiff for {n5_50} minutes each morning, helped by {drug}.
    Eyes and ears: glasses since {year}, no pain.
    Urinary: up {n2_4} times at night, no burning.
    Mood: {mood}, enjoys {hobby}.
    The patient denies {complaint} and {complaint}.
    {complaint} was mentioned once and not pursued.
    Appetite: ate {food} on {weekday}.
    Not troubled by {complaint} at present.
""")

EXAMINATION = lines("""
    On inspection the patient is {mood} and well oriented.
    {area}: {normal}.
    The {area} and the {area} are {normal}.
    A scar of {n2_14} cm after {operation} is well healed.
    Reflexes are symmetric and strength is {n3_5} of 5.
    Height {n148_196} cm, weight {n48_118} kg.
    Gait is steady over {n5_40} metres.
    A bruise of {n1_6} cm over the {area} is fading.
    Hearing aid on one side, {area} {normal}.
    No tenderness of the {area}.
    Peripheral pulses can be felt and the skin is warm.
""")

IMAGING = lines("""
    {view} of the {region} on {date}, read by {doctor}.
    {organ}: {aspect}.
    The {organ} and the {organ} are {aspect}.
    A cyst of the {organ} measures {n3_29} mm, earlier {n3_29} mm.
    Incidental: {bone}.
    Comparison with the {view} of {date} shows no difference in the {organ}.
    The {region} shows {bone}.
    Image quality was reduced by movement.
    Greatest diameter of the {organ}: {n3_14}.{n0_9} cm.
    Read again by {doctor} at {clock}, same wording.
    No free fluid and no enlarged nodes in the {region}.
""")

LABS = lines("""
    Sodium {n131_147} | potassium {n3_5}.{n0_9} | creatinine {n48_148} | urea {n2_14}.{n0_9}
    Haemoglobin {n92_168} | white cells {n3_14}.{n0_9} | platelets {n120_440}
    CRP {n1_90} | ALT {n9_88} | alkaline phosphatase {n40_180} | bilirubin {n4_31}
    Glucose {n4_12}.{n0_9} | HbA1c {n34_84} | cholesterol {n3_8}.{n0_9}
    TSH {n0_5}.{n10_99} | ferritin {n9_410} | vitamin D {n18_120}
    Urine: pH {n5_8}.{n0_9}, protein {n0_2}, glucose {n0_3}
""")

COURSE = lines("""
    On {weekday} the patient was {mood} and ate {food}.
    {drug} {dose} was given at {clock} for {complaint}.
    {doctor} saw the patient at {clock} and left the plan as it was.
    The night was quiet, with {n3_9} hours of sleep.
    Walked {n10_200} metres with {service}.
    The dose of {drug} was changed to {dose} {often}.
    A relative visited on {weekday} and brought {food}.
    Fluid balance was plus {n100_900} ml.
    The line in the {area} was removed at {clock}.
    Pain fell from {n5_9} to {n1_4} of 10 after {drug}.
    The patient mentioned {complaint} on the round of {doctor}.
    {service} reviewed the patient and will return on {weekday}.
    Blood was drawn at {clock} and sent to the laboratory.
    Had {food} and felt {mood}.
""")

ASSESSMENT = lines("""
    {problem} is stable on {drug} {dose}.
    {complaint} is most likely due to {drug} and should settle.
    Control of {problem} is fair, target not yet reached.
    {problem}: continue {drug}, repeat tests in {n2_12} weeks.
    Weight and diet were discussed for {n5_30} minutes.
    Risk of falls is low, score {n0_9}.
    {complaint} was explained to the patient and to {relative}.
    Discussed with {doctor} on {date}.
    Driving and work as a {job} are possible.
""")

PLAN = lines("""
    - {drug} {dose} {often} for {n3_28} days
    - refer to {service}
    - {advice}
    - review by {doctor} on {date}
    - repeat blood tests in {n2_12} weeks
    - stop {drug}
    - {view} of the {region} in {n2_12} months
    - letter to {doctor}, copy to {service}
""")

SECTIONS = (
    Section("HISTORY", 0.12, True, HISTORY),
    Section("PAST HISTORY", 0.07, True, PAST),
    Section("SOCIAL AND FAMILY HISTORY", 0.06, True, SOCIAL),
    Section("MEDICATIONS", 0.09, False, MEDICATIONS),
    Section("REVIEW OF SYSTEMS", 0.09, True, REVIEW),
    Section("VITAL SIGNS", 0.06, False, VITALS),
    Section("EXAMINATION", 0.09, True, EXAMINATION),
    Section("LABORATORY", 0.05, False, LABS),
    Section("IMAGING", 0.1, True, IMAGING),
    Section("COURSE", 0.14, True, COURSE),
    Section("ASSESSMENT", 0.08, True, ASSESSMENT),
    Section("PLAN", 0.05, False, PLAN),
)
